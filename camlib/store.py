"""Where files go and how they get there: folders, digests, atomic writes, shards kept in the cache."""

import errno
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

PROJECT_ROOT = Path(__file__).resolve().parents[1]
SHARD = 1024  # images: what a kill can cost


def data_root() -> Path:
    """The folder that holds the datasets: $CAMLIB_DATA (a relative path counts from the project), else data/raw."""
    return PROJECT_ROOT / (os.environ.get("CAMLIB_DATA") or "data/raw")


def _made_here() -> Path:
    """Where caches and checkpoints go: $CAMLIB_CACHE (a relative path counts from the project), else data/."""
    return PROJECT_ROOT / (os.environ.get("CAMLIB_CACHE") or "data")


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
    label: str, key: str, n: int, compute: Callable[[np.ndarray], dict[str, np.ndarray]], shard: int = SHARD
) -> dict[str, np.ndarray]:
    """Run `compute` over indices 0..n-1, shard by shard; a finished shard is kept in the cache and never run again.

    compute(indices (S,)) -> named arrays (S, ...). key: a digest of everything that the result depends on.
    Returns the named arrays of all images, (n, ...).
    """
    # What was computed by other code is not taken for what this code computes.
    code = [file.read_bytes() for file in sorted(Path(__file__).parent.rglob("*.py"))]
    folder = (
        cache_dir() / "shards" / f"{label}-{digest(key, version('torch'), version('opencv-python-headless'), *code)}"
    )
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
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: a damaged shard of the cache; delete it and run again ({error})") from error
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
