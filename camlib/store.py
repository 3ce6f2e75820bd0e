"""Where files go and how they get there: folders, digests, atomic writes, shards kept in the cache."""

import ast
import errno
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

PROJECT_ROOT = Path(__file__).resolve().parents[1]
SHARD = 1024  # images: what a kill can cost
# What numpy and zipfile raise for a shard that is not whole.
DAMAGE = (ValueError, EOFError, OSError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error, SyntaxError)


def data_root() -> Path:
    """The folder that holds the datasets: $CAMLIB_DATA (a relative path counts from the project), else data/raw."""
    return PROJECT_ROOT / Path(os.environ.get("CAMLIB_DATA") or "data/raw").expanduser()


def check_data_root() -> None:
    """Raise NotADirectoryError if CAMLIB_DATA is set to anything but a folder: all data would count as missing."""
    named = os.environ.get("CAMLIB_DATA")
    if named and not data_root().is_dir():
        raise NotADirectoryError(f"CAMLIB_DATA is {named!r}; {data_root()} is no folder, expected that of the datasets")


def _made_here() -> Path:
    """Where caches and checkpoints go: $CAMLIB_CACHE (a relative path counts from the project), else data/."""
    return PROJECT_ROOT / Path(os.environ.get("CAMLIB_CACHE") or "data").expanduser()


def cache_dir() -> Path:
    """Folder of what can be computed again: squashed images, predictions, features."""
    return _made_here() / "cache"


def checkpoint_dir() -> Path:
    """Folder of trained networks, one folder each, named by a hash of their settings."""
    return _made_here() / "checkpoints"


def digest(*parts: Any) -> str:
    """A short stable hash of settings (anything JSON can write) or bytes: 16 hex digits."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True, default=str).encode())
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
    skipped = {"camlib.datasets", "camlib.store", *without}
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


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Write to the path this yields; it takes the name `path` only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, f"disk full while writing {path}; nothing of it was kept") from error
        raise
    finally:
        aside.unlink(missing_ok=True)


def run_sharded(
    label: str,
    key: str,
    n: int,
    compute: Callable[[np.ndarray], dict[str, np.ndarray]],
    shard: int = SHARD,
    names: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Run `compute` over indices 0..n-1, shard by shard; a finished shard is kept in the cache and never run again.

    compute(indices (S,)) -> named arrays (S, ...). key: a digest of everything that the result depends on.
    names: of the arrays, by default those of the first shard.
    Returns the named arrays of all images, (n, ...). Raises ValueError for a damaged shard, with its path.
    """
    made_by = digest(key, version("torch"), version("opencv-python-headless"), digest_code(compute.__module__))
    folder = cache_dir() / "shards" / f"{label}-{made_by}"
    parts = []
    for start in tqdm(range(0, n, shard), label, disable=n <= shard):
        path = folder / f"{start:08d}.npz"
        if not path.exists():
            arrays = compute(np.arange(start, min(start + shard, n)))
            with write_aside(path) as aside:
                np.savez(aside, **arrays)  # type: ignore[arg-type]
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
