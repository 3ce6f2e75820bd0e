"""Where files go and how they get there: folders, digests, atomic writes, locks, shards kept in the cache."""

import ast
import errno
import hashlib
import json
import os
import platform
import re
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

PROJECT_ROOT = Path(__file__).resolve().parents[1]
SHARD = 1024  # images: what a kill can cost
# What numpy and zipfile raise for a shard that is not whole.
DAMAGE = (ValueError, EOFError, OSError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error, SyntaxError)
HOST = re.sub(r"[^\w-]", "-", platform.node()) or "localhost"


def is_checkout() -> bool:
    """Whether this code lies in a checkout of the project, with its notebooks and profiles, or was installed alone."""
    return (PROJECT_ROOT / "params" / "profiles.yml").is_file()


def find_checkout() -> Path:
    """The checkout of the project. Raises FileNotFoundError, saying what to do, where camlib was installed without."""
    if not is_checkout():
        raise FileNotFoundError(
            f"camlib runs from {PROJECT_ROOT}, which is no checkout of it, and writes nothing there: set CAMLIB_CACHE "
            "to a folder for caches and checkpoints; for notebooks, profiles and reports clone the project"
        )
    return PROJECT_ROOT


def data_root() -> Path:
    """The datasets' folder: $CAMLIB_DATA, else data/raw.

    A relative path counts from the project, or from the working folder where there is no checkout."""
    base = PROJECT_ROOT if is_checkout() else Path.cwd()
    return base / Path(os.environ.get("CAMLIB_DATA") or "data/raw").expanduser()


def check_data_root() -> None:
    """Raise NotADirectoryError if CAMLIB_DATA is set to anything but a folder: all data would count as missing."""
    named = os.environ.get("CAMLIB_DATA")
    if named and not data_root().is_dir():
        raise NotADirectoryError(f"CAMLIB_DATA is {named!r}; {data_root()} is no folder, expected that of the datasets")


def _made_here() -> Path:
    """Where caches and checkpoints go: $CAMLIB_CACHE, else data/; a relative path counts as in `data_root`.

    Raises FileNotFoundError where camlib was installed without its checkout and the variable is not set.
    """
    given = os.environ.get("CAMLIB_CACHE")
    if given and not is_checkout():
        return Path.cwd() / Path(given).expanduser()
    return find_checkout() / Path(given or "data").expanduser()


def cache_dir() -> Path:
    """Folder of what can be computed again: squashed images, predictions, features."""
    return _made_here() / "cache"


def checkpoint_dir() -> Path:
    """Folder of trained networks, one folder each, named by a hash of their settings."""
    return _made_here() / "checkpoints"


def digest(*parts: Any) -> str:
    """A short stable hash of settings (anything JSON can write), bytes or views of them: 16 hex digits."""
    sha = hashlib.sha256()
    for part in parts:
        raw = isinstance(part, bytes | memoryview)
        sha.update(part if raw else json.dumps(part, sort_keys=True, default=str).encode())
        sha.update(b"\0")
    return sha.hexdigest()[:16]


def _module_file(name: str) -> Path | None:
    """The file of a module of this package, or None if `name` is something else (a name within a module)."""
    place = Path(__file__).parent.joinpath(*name.split(".")[1:])
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


@cache
def _read_code(path: Path) -> tuple[str, frozenset[str]]:
    """A file's syntax without comments and docstrings, and the modules of this package that it imports."""
    package = __name__.partition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    return ast.dump(tree), frozenset(name for name in imported if name.startswith(f"{package}.") and _module_file(name))


def digest_code(*modules: str, without: Sequence[str] = ()) -> str:
    """A hash of the code of some modules and of all that they import from this package: 16 hex digits.

    Comments, docstrings and layout do not count. The readers of datasets do not either: what they read is in the
    data's own digest. Nor does this module, which keeps and does not compute.
    without: further modules that the result does not depend on, with what they alone import.
    """
    skipped = {"camlib.datasets", "camlib.store", "camlib._memory", *without}
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in skipped:
            seen[name], imported = _read_code(_module_file(name) or Path(__file__).parent / "__init__.py")
            waiting += imported
    return digest(sorted(seen.items()))


def digest_package(without: Sequence[str] = ()) -> str:
    """A hash of the code of the whole package, but for some modules: 16 hex digits."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    names = [(file.relative_to(Path(__file__).parent).as_posix(), file) for file in files]
    return digest([(name, _read_code(file)[0]) for name, file in names if name not in without])


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------ writing


def make_folder(folder: Path) -> Path:
    """Make a folder and return it. One that cannot be written raises OSError, saying what to do, before any work."""
    probe = folder / f".probe.{os.getpid()}@{HOST}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _explain_error(error, folder) from error
    return folder


def _explain_error(error: OSError, path: Path) -> OSError:
    """The same error, naming what could not be written and the setting that moves it; others as they are."""
    if error.strerror != os.strerror(error.errno or 0):
        return error  # it was explained before
    if error.errno == errno.ENOSPC:
        return OSError(errno.ENOSPC, f"disk full while writing {path}; nothing of it was kept")
    theirs = error.filename is not None and not Path(error.filename).is_relative_to(path.parent)
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST) or theirs:
        return error
    made_here = PROJECT_ROOT / Path(os.environ.get("CAMLIB_CACHE") or "data").expanduser()
    ours = any(path.absolute().is_relative_to(made_here / name) for name in ("cache", "checkpoints"))
    way = "set CAMLIB_CACHE to a folder that can" if ours else "choose another folder"
    return OSError(error.errno, f"{path} cannot be written ({error.strerror}): {way}")


def _is_running(pid: int) -> bool:
    """Whether a process of this machine lives. On Windows, where asking would end it, it is taken to live."""
    if os.name != "nt":
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # somebody else's
            return True
    return True


def sweep_asides(folder: Path, pattern: str = ".*") -> list[Path]:
    """Remove what dead processes of this machine left half-written in a folder. Returns what was removed.

    pattern: "**/.*" for the folders below it, too. What another machine writes into a shared folder stays.
    """
    swept = []
    for path in folder.glob(pattern):
        found = re.fullmatch(r"\..+\.(\d+)(?:@([\w-]+))?(\.\w+)?", path.name)
        if found and found[2] in (None, HOST) and not _is_running(int(found[1])):
            path.unlink(missing_ok=True)
            swept.append(path)
    return swept


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Write to the path this yields; it takes the name `path` only when the block ends without an error.

    Raises OSError, naming the path and what to do, for a full disk and a folder that cannot be written.
    """
    aside = path.with_name(f".{path.stem}.{os.getpid()}@{HOST}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_asides(path.parent)
        yield aside
        os.replace(aside, path)
    except OSError as error:
        explained = _explain_error(error, path)
        if explained is error:
            raise
        raise explained from error
    finally:
        with suppress(OSError):  # there is none, or no folder for it
            aside.unlink()


@contextmanager
def hold(lock: Path, doing: str, wait: bool = True) -> Iterator[None]:
    """Let one process at a time do something. The lock ends with its process, however that ends.

    lock: the lock's file. doing: what is done, for the others to read. wait: for a process that holds it, saying so on
    stderr; else raises BlockingIOError, which says who holds it, on which machine, since when.
    """
    make_folder(lock.parent)
    own, holder, who = FileLock(lock), lock.with_name(f"{lock.name}.holder"), "another process"
    try:
        own.acquire(timeout=0)
    except Timeout as error:
        with suppress(FileNotFoundError):  # it ends just now
            who = holder.read_text(encoding="utf-8")
        if not wait:
            raise BlockingIOError(f"{doing}: {who} has the lock {lock}; wait until it ends, or end it") from error
        print(f"{doing}: waiting for {who}", file=sys.stderr, flush=True)
        own.acquire()
    try:
        about = f"process {os.getpid()} on {HOST} ({doing}, since {time.strftime('%Y-%m-%d %H:%M:%S')})"
        holder.write_text(about, encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)  # still held: who opened it before finds that it has no name, and makes a new one
        own.release()


def hold_cache(name: str, doing: str, wait: bool = True) -> AbstractContextManager[None]:
    """`hold` for something of the cache or the checkpoints that is computed once, by its name."""
    return hold(cache_dir() / "locks" / f"{name}.lock", doing, wait)


# ------------------------------------------------------------------------------------------------ shards


def run_sharded(
    label: str,
    key: str,
    n: int,
    compute: Callable[[np.ndarray], dict[str, np.ndarray]],
    shard: int = SHARD,
    names: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Run `compute` over indices 0..n-1, shard by shard; finished ones are kept and shared with other processes.

    compute(indices (S,)) -> named arrays (S, ...). key: a digest of everything that the result depends on.
    names: of the arrays, else the first shard's. Returns all images' arrays (n, ...). ValueError names a damaged shard.
    """
    made_by = digest(key, version("torch"), version("opencv-python-headless"), digest_code(compute.__module__))
    folder = cache_dir() / "shards" / f"{label}-{made_by}"
    paths = {start: folder / f"{start:08d}.npz" for start in range(0, n, shard)}
    for wait in (False, True):  # at the end for what other processes compute
        for start, path in tqdm(paths.items(), label, disable=wait or n <= shard):
            with ExitStack() as held:
                try:
                    if not path.exists():
                        held.enter_context(hold_cache(f"{folder.name}-{start:08d}", f"compute {label}", wait))
                except BlockingIOError:
                    continue
                if not path.exists():  # nor did another process compute it meanwhile
                    arrays: Any = compute(np.arange(start, min(start + shard, n)))
                    with write_aside(path) as aside:
                        np.savez(aside, **arrays)
    parts = []
    for start, path in paths.items():
        try:
            with open(path, "rb") as file, np.load(file) as part:  # closed even where numpy refuses it
                parts.append({name: part[name] for name in part.files})
            names, size = names or list(parts[0]), min(shard, n - start)
            shapes = {name: array.shape for name, array in parts[-1].items()}
            if set(shapes) != set(names) or any(shape[:1] != (size,) for shape in shapes.values()):
                raise ValueError(f"it holds {shapes}; expected {', '.join(names)} of {size} images each")
        except DAMAGE as error:
            reason = str(error).partition(". ")[0]  # numpy's advice would be to unpickle
            raise ValueError(f"{path}: a damaged shard of the cache; delete it and run again ({reason})") from error
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
