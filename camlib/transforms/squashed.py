"""A dataset's images squashed to one size: decoded once, kept, handed out in batches."""

import errno
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from camlib.datasets.base import Dataset
from camlib.store import cache_dir, digest, digest_code, hold_cache, write_aside
from camlib.transforms.pixels import Preset, squash_image

Batch = TypeVar("Batch")

# The squashed images of a dataset are kept, so that no later pass decodes again, if they take no more of the free disk.
CACHE_SHARE = 0.5


class _Squashed(torch.utils.data.Dataset):
    def __init__(self, dataset: Dataset, size: int, interpolation: str):
        self.dataset, self.size, self.interpolation = dataset, size, interpolation

    def __getitem__(self, i: int) -> np.ndarray:
        return squash_image(self.dataset[i], self.size, self.interpolation)


def _stack(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images))


def _decode_batches(dataset: Dataset, size: int, interpolation: str, batches: list[np.ndarray]) -> Iterator[Tensor]:
    workers = min(os.cpu_count() or 1, 8, len(batches))
    return iter(
        DataLoader(
            _Squashed(dataset, size, interpolation),
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=workers if workers > 1 else 0,
            collate_fn=_stack,
        )
    )


def _squashed_path(dataset: Dataset, size: int, interpolation: str) -> Path:
    key = digest(dataset.cache_key, version("pillow"), digest_code(__name__), size, interpolation)
    return cache_dir() / "squashed" / f"{dataset.name}-{dataset.split}-{size}-{key}.npy"


def keeps_squashed(dataset: Dataset, size: int, interpolation: str = "bilinear") -> bool:
    """Whether the squashed images of a dataset are in the cache, or would leave enough of the free disk."""
    path = _squashed_path(dataset, size, interpolation)
    place = next(folder for folder in path.parents if folder.is_dir())
    return path.exists() or len(dataset) * 3 * size**2 <= CACHE_SHARE * shutil.disk_usage(place).free


def load_squashed(dataset: Dataset, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Every image squashed to size x size -> uint8 (N, 3, size, size); decoded once, then mapped from the cache."""
    if dataset.images is not None and dataset.images.shape[1:3] == (size, size):
        return dataset.images.transpose(0, 3, 1, 2)
    path = _squashed_path(dataset, size, interpolation)
    if not path.exists():
        what = f"decode {dataset.name} {dataset.split}"
        with hold_cache(path.stem, what):
            if not path.exists():  # nor did another process make it meanwhile
                _write_squashed(path, dataset, size, interpolation, what)
    return np.load(path, mmap_mode="r")


def reserve_space(path: Path, size: int) -> None:
    """Give a file that exists its `size` bytes on the disk; a write into mapped memory has no other way to fail.

    Raises OSError (no space left), naming the file, what it needs and what is free.
    """
    free = shutil.disk_usage(path.parent).free
    try:
        if free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            text = f"disk full: {path} needs {size:,} bytes, {free:,} are free; CAMLIB_CACHE moves caches elsewhere"
            raise OSError(errno.ENOSPC, text) from error
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve
            raise


def _write_squashed(path: Path, dataset: Dataset, size: int, interpolation: str, what: str) -> None:
    batches = np.array_split(np.arange(len(dataset)), max(1, len(dataset) // 64))
    with write_aside(path) as aside:
        out = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(dataset), 3, size, size))
        reserve_space(aside, aside.stat().st_size)
        decoded = _decode_batches(dataset, size, interpolation, batches)
        progress = tqdm(zip(batches, decoded, strict=True), what, len(batches), disable=len(dataset) < 1000)
        for indices, images in progress:
            out[indices] = images.numpy()
        out.flush()


def run_ahead(batches: Iterable[Batch], count: int = 2) -> Iterator[Batch]:
    """The same batches, made in a thread while the one before is worked on, at most `count` of them waiting."""
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, source, None) for _ in range(count))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, source, None))
            yield batch


def iterate_batches(
    dataset: Dataset, preset: Preset, batch_size: int, order: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield (indices (B,), squashed images uint8 (B, 3, S, S)) in the given order, by default 0..N-1.

    A dataset that fits on the disk is squashed once and kept; another one is decoded by worker processes in each pass.
    Raises what the dataset raises for a corrupt or missing image, with its path.
    """
    order = np.arange(len(dataset)) if order is None else order
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if keeps_squashed(dataset, preset.squash, preset.interpolation):
        squashed = load_squashed(dataset, preset.squash, preset.interpolation)
        yield from ((batch, torch.from_numpy(squashed[batch])) for batch in batches)
    else:
        decoded = _decode_batches(dataset, preset.squash, preset.interpolation, batches)
        yield from zip(batches, decoded, strict=True)
