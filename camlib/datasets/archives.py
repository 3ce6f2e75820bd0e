"""Archives: whether one is whole, and unpacking what may have been made to do harm.

An archive is unpacked into a folder aside, which takes its name only when all of it is there. What is interrupted is
done again from the start. Neither shutil nor pooch serves here: both trust the names and sizes that an archive states.
"""

import bz2
import contextlib
import errno
import functools
import gzip
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from tqdm import tqdm

from camlib.store import cache_dir, digest, write_aside

# What zipfile raises for a member that can't be read: damaged, cut, encrypted, of an unknown method.
UNREADABLE_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
DAMAGED = (*UNREADABLE_MEMBER, tarfile.TarError, lzma.LZMAError, ValueError)
PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")  # what is unpacked here
MOST_MEMBERS = 2_000_000  # ILSVRC's training set has 1.3 million
MOST_RATIO = 100  # bytes out per byte in: photographs give 1, the XML of ILSVRC's boxes some 20
HARMLESS = 100 * 2**20  # bytes that any archive may give
NOTE = ".unpacked.json"  # in an unpacked folder: what it came from
BLOCK = 2**20


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


# ------------------------------------------------------------------------------------------------ members


class _Member(NamedTuple):
    name: str  # as the archive states it
    is_folder: bool
    open: Callable[[], IO[bytes]]


LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")
LONGEST = 2**20  # bytes of a header


class _EndingTarInfo(tarfile.TarInfo):
    """A tar file ends with blocks of zeros: one that was cut between two members has none, and tarfile is content."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_EndingTarInfo":
        if not buf:
            raise tarfile.ReadError("it ends before its end is marked")
        found = super().frombuf(buf, encoding, errors)
        if found.type in LONG_NAMES and found.size > LONGEST:  # tarfile reads it into memory before anybody sees it
            raise ValueError(f"a name or a header in it takes {found.size:,} bytes")
        return found


def check_member(name: str) -> str:
    """A member's name as a path below the target, "." for the target itself.

    Raises ValueError for a name that could lead elsewhere: an absolute one, one with "..", a backslash or a drive.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not name or name[0] == "/" or ".." in parts or re.search(r"[\\\0]|^[A-Za-z]:", name):
        raise ValueError(f"its member {name!r} leaves the folder that it is unpacked into")
    return "/".join(parts) or "."


def _iterate_members(path: Path, name: str) -> Iterator[_Member]:
    """The members of the archive `path`, whose own name is `name`, in its order. ValueError for links and devices."""
    if name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as packed:
            for entry in packed.infolist():
                # The name as it is stored: zipfile's own is mended already.
                if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(f"its member {entry.orig_filename!r} is a link or a device")
                yield _Member(entry.orig_filename, entry.is_dir(), functools.partial(packed.open, entry))
        return
    with _open_stream(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK, tarinfo=_EndingTarInfo) as tape:
            for member in tape:
                if not member.isfile() and not member.isdir():
                    raise ValueError(f"its member {member.name!r} is a link or a device")
                yield _Member(member.name, member.isdir(), functools.partial(tape.extractfile, member))  # type: ignore[arg-type]
                tape.members = []  # type: ignore[attr-defined]  # it would keep a million of them
        while stream.read(BLOCK):  # the checksum of a compressed file stands behind the last member
            pass


def _open_stream(path: Path) -> IO[bytes]:
    """A file as it was before it was compressed, whatever its name says."""
    with open(path, "rb") as file:
        first = file.read(6)
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    return next((opener for magic, opener in openers.items() if first.startswith(magic)), open)(path, "rb")


def check_whole(path: Path, name: str) -> None:
    """Read an archive from end to end. Raises ValueError if it is not whole. Files of other kinds pass.

    name: the archive's own name, which may not be that of `path`.
    """
    if not name.lower().endswith(PACKED):
        return
    try:
        for member in _iterate_members(path, name):
            if not member.is_folder:
                with member.open() as source:
                    while source.read(BLOCK):
                        pass
    except DAMAGED as error:
        raise ValueError(f"{name} is no whole archive ({error})") from error


# ------------------------------------------------------------------------------------------------ unpacking


class _Allowance:
    """What an archive and the archives inside it may still give."""

    def __init__(self, packed: int, bar: Any) -> None:
        self.members, self.bytes = MOST_MEMBERS, max(HARMLESS, MOST_RATIO * packed)
        self.bar = bar

    def take(self, members: int, size: int) -> None:
        """Raise ValueError if that is more than is left."""
        self.members, self.bytes = self.members - members, self.bytes - size
        self.bar.update(members)
        if self.members < 0:
            raise ValueError(f"it has more than {MOST_MEMBERS:,} members")
        if self.bytes < 0:
            raise ValueError(f"it gives more than {MOST_RATIO} times its own size: a decompression bomb")


def unpack(path: Path, root: Path, to: str, about: dict[str, Any] | None = None) -> Path:
    """Unpack an archive as the folder `to` below `root`; archives directly inside it as folders of their names.

    If the archive holds a folder that is called as `to`, that folder is taken, and nothing beside it. about: what is
    noted in the folder's `.unpacked.json`, beside how many files it got. Nothing is left of an archive that is refused.
    Raises ValueError, naming archive and member, for one that is not whole or would do harm; FileExistsError if `to` is
    there; OSError for lack of space.
    """
    target = root / to
    if target.exists():
        raise FileExistsError(f"{target} is there; delete it to unpack {path.name} again")
    aside = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was interrupted
    aside.mkdir(parents=True)
    try:
        check_space(aside, _measure(path), f"unpack {path.name}")
        with tqdm(desc=f"unpack {path.name}", unit=" files", disable=None, leave=False) as bar:
            _unpack_into(aside, path, str(path), _Allowance(path.stat().st_size, bar), nested=True)
        folder = _find_named(aside, to)
        if about is not None:
            files = sum(len(names) for *_, names in os.walk(folder))
            with open(folder / NOTE, "w", encoding="utf-8") as note:
                json.dump(about | {"files": files}, note)
        os.replace(folder, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(f"disk full while unpacking {path}; nothing of it was kept") from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def read_note(folder: Path) -> dict[str, Any]:
    """What `unpack` noted in a folder: archive, check, checksum, files; empty if it did not unpack it."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and {"archive", "check", "files"} <= set(found) else {}
    return {}


def check_space(folder: Path, needed: int, doing: str) -> None:
    """Raise OSError, with both numbers, if the folder's disk has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{doing}: takes {needed / 1e9:,.2f} GB, {folder} has {free / 1e9:,.2f} GB left")


def _measure(path: Path) -> int:
    """How many bytes an archive states that it gives; of a tar file its own size, which is the least."""
    if not path.name.lower().endswith(".zip"):
        return path.stat().st_size
    try:
        with zipfile.ZipFile(path) as packed:
            return sum(entry.file_size for entry in packed.infolist())
    except UNREADABLE_MEMBER as error:
        raise ValueError(f"{path}: not a whole zip file ({error})") from error


def _unpack_into(folder: Path, path: Path, label: str, left: _Allowance, nested: bool) -> None:
    try:
        for member in _iterate_members(path, path.name):
            place = folder / check_member(member.name)
            left.take(1, 0)
            if member.is_folder:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, open(place, "xb") as sink:
                while block := source.read(BLOCK):
                    left.take(0, len(block))
                    sink.write(block)
            if nested and place.name.lower().endswith(PACKED):
                _unpack_inner(place, f"{label}/{member.name}", left)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{label}: refused, its member {member.name!r} is there twice") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno:  # of the disk, not of the archive
            raise
        text = str(error) or type(error).__name__
        said = text.startswith(label)  # by an archive inside this one
        raise ValueError(text if said else f"{label}: refused, {text}") from error


def _unpack_inner(path: Path, label: str, left: _Allowance) -> None:
    """Put a folder in place of an archive that came out of another one."""
    target = path.with_name(re.sub(r"(\.tar)?\.\w+$", "", path.name))
    if target.exists():
        raise FileExistsError(target)
    aside = path.with_name(f".{path.name}.unpacking")
    aside.mkdir()
    _unpack_into(aside, path, label, left, nested=False)
    path.unlink()
    os.rename(_find_named(aside, target.name), target)
    shutil.rmtree(aside, ignore_errors=True)


def _find_named(folder: Path, to: str) -> Path:
    """The folder inside `folder` that is called as `to`, or as its last parts; else `folder` itself."""
    parts = to.split("/")
    ends = [folder.joinpath(*parts[i:]) for i in range(len(parts))]
    return next((end for end in ends if end.is_dir()), folder)
