"""Whether an archive is whole: looked at before it counts as there, once for each state of the file."""

import contextlib
import functools
import zipfile
import zlib
from pathlib import Path

from camlib.store import cache_dir, digest, write_aside

# What zipfile raises for a member that can't be read: damaged, cut, encrypted, of an unknown method.
UNREADABLE_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


def find_damage(path: Path) -> str:
    """What is wrong with an archive, in a line that names it, or "" for a whole one. Folders and other files pass."""
    if path.suffix.lower() != ".zip" or path.is_dir():
        return ""
    stat = path.stat()
    return _find_damage(path.resolve(), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache
def _find_damage(path: Path, size: int, changed: int) -> str:
    checked = cache_dir() / "archives" / digest(str(path), size, changed)
    if checked.exists():
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.testzip()
    except UNREADABLE_MEMBER as error:
        return f"{path} is there, but not a whole zip file ({error}); download it again"
    if member:
        return f"{path} is there, but damaged: its member {member} has another checksum; download it again"
    with contextlib.suppress(OSError):  # without the note a later process reads the archive again
        checked.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(checked) as aside:
            aside.touch()
    return ""
