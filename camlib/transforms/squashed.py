"""A dataset's images squashed to one size: decoded once, kept, handed out in batches.

They are kept as they are, so that every later pass sees the same pixels. A training set that would take more than
`LOSSLESS_MOST` bytes is trained on JPEGs, a fifth of the size (docs/benchmarks.md says what that does). The data alone
decide this, so that a training sees the same pixels on every machine. Nothing is measured on JPEGs of JPEGs.
"""

import errno
import io
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from camlib._memory import return_freed
from camlib.datasets.base import UNREADABLE, Dataset
from camlib.store import cache_dir, digest, digest_code, hold_cache
from camlib.transforms.pixels import Preset, squash_image

Batch = TypeVar("Batch")

CACHE_SHARE = 0.5  # of the free disk that squashed images may take; where they take more, every pass decodes again
LOSSLESS_MOST = 32 * 1024**3
JPEG_QUALITY = 95
JPEG_BYTES = 0.75  # per pixel, to plan the disk with; photographs take 0.6


def count_bytes(images: int, size: int, lossy: bool = False) -> int:
    """The disk that squashed images take, in bytes."""
    return round(images * size**2 * (JPEG_BYTES if lossy else 3))


def is_lossy(images: int, size: int) -> bool:
    """Whether so many training images are kept as JPEGs."""
    return count_bytes(images, size) > LOSSLESS_MOST


def squash_to_jpeg(image: Image.Image, size: int, interpolation: str) -> bytes:
    """`squash_image` as a JPEG with its colours at full resolution."""
    made, pixels = io.BytesIO(), squash_image(image, size, interpolation).transpose(1, 2, 0)
    Image.fromarray(pixels).save(made, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return made.getvalue()


def decode_jpeg(jpeg: bytes) -> np.ndarray:
    """What `squash_to_jpeg` made -> uint8 (3, S, S)."""
    return np.asarray(Image.open(io.BytesIO(jpeg))).transpose(2, 0, 1)


def _squash_lossy(image: Image.Image, size: int, interpolation: str) -> np.ndarray:
    return decode_jpeg(squash_to_jpeg(image, size, interpolation))


class _Squashed(torch.utils.data.Dataset):
    def __init__(self, dataset: Dataset, squash: Callable[[Image.Image, int, str], Any], size: int, interpolation: str):
        self.dataset, self.squash, self.size, self.interpolation = dataset, squash, size, interpolation

    def __getitem__(self, i: int) -> Any:
        return self.squash(self.dataset[i], self.size, self.interpolation)


def _stack(images: Iterable[Any]) -> Any:
    images = list(images)
    return images if isinstance(images[0], bytes) else torch.from_numpy(np.stack(images))


def _decode_batches(
    dataset: Dataset,
    squash: Callable[[Image.Image, int, str], Any],
    size: int,
    interpolation: str,
    batches: Sequence[np.ndarray],
) -> Iterator[Any]:
    """What `squash` makes of the images of each batch, in worker processes: a tensor, or a list of bytes."""
    workers = min(os.cpu_count() or 1, 16, len(batches))
    if workers > 1:
        return_freed()
    return iter(
        DataLoader(
            _Squashed(dataset, squash, size, interpolation),
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=workers if workers > 1 else 0,
            collate_fn=_stack,
        )
    )


def _squashed_path(dataset: Dataset, size: int, interpolation: str, lossy: bool) -> Path:
    key = digest(dataset.cache_key, version("pillow"), digest_code(__name__), size, interpolation)
    return cache_dir() / "squashed" / f"{dataset.name}-{dataset.split}-{size}-{key}.{'jpegs' if lossy else 'npy'}"


def keeps_squashed(dataset: Dataset, size: int, interpolation: str = "bilinear", lossy: bool = False) -> bool:
    """Whether the squashed images of a dataset are in the cache, or would leave enough of the free disk."""
    path = _squashed_path(dataset, size, interpolation, lossy)
    if path.exists():
        return True
    place, part = next(folder for folder in path.parents if folder.is_dir()), _part_of(path)
    written = part.stat().st_size if part.exists() else 0  # by a run that was killed, or is at it
    return count_bytes(len(dataset), size, lossy) <= CACHE_SHARE * (shutil.disk_usage(place).free + written)


def _part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _find_squashed(dataset: Dataset, size: int) -> np.ndarray | None:
    """The images of a dataset that holds them at this size, (N, 3, size, size)."""
    if dataset.images is None or dataset.images.shape[1:3] != (size, size):
        return None
    return dataset.images.transpose(0, 3, 1, 2)


def load_squashed(dataset: Dataset, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Every image squashed to size x size -> uint8 (N, 3, size, size); decoded once, then mapped from the cache."""
    if (held := _find_squashed(dataset, size)) is not None:
        return held
    return np.load(_make_squashed(dataset, size, interpolation, lossy=False), mmap_mode="r")


def _make_squashed(dataset: Dataset, size: int, interpolation: str, lossy: bool) -> Path:
    """The file of the squashed images, made if it is not there. Of JPEGs `_ends_of` it says where each ends."""
    path, what = _squashed_path(dataset, size, interpolation, lossy), f"decode {dataset.name} {dataset.split}"
    if not path.exists():
        with hold_cache(path.name, what):
            if not path.exists():  # nor did another process make it meanwhile
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_squashed(path, dataset, size, interpolation, lossy, what)
    return path


def _write_squashed(path: Path, dataset: Dataset, size: int, interpolation: str, lossy: bool, what: str) -> None:
    """Append image after image to `<path>.part`; what a killed run left there is kept.

    Raises OSError (no space left), naming the file, what it still needs and what is free.
    """
    part, listed = _part_of(path), path.with_name(f"{path.name}.ends.part")
    _sweep_parts(path, f"{dataset.name}-{dataset.split}-{size}-*.part")
    header = b"" if lossy else _npy_header((len(dataset), 3, size, size))
    done = 0
    try:
        part.touch()
        listed.touch()
        with open(part, "r+b") as file, open(listed, "r+b") as index:
            data = index.read()
            ends = np.frombuffer(data[: len(data) // 8 * 8], np.int64)  # where each image in the file ends
            ends = ends[ends <= part.stat().st_size]
            done, end = len(ends), int(ends[-1]) if len(ends) else len(header)
            if not done:
                file.write(header)
            file.seek(end)
            file.truncate()
            index.seek(8 * done)
            index.truncate()
            if shutil.disk_usage(path.parent).free < count_bytes(len(dataset) - done, size, lossy):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rows = np.arange(done, len(dataset))
            batches = np.array_split(rows, math.ceil(len(rows) / 64)) if len(rows) else []
            squash = squash_to_jpeg if lossy else squash_image
            with tqdm(desc=what, total=len(dataset), initial=done, disable=len(dataset) < 1000) as progress:
                for images in _decode_batches(dataset, squash, size, interpolation, batches) if batches else ():
                    pieces = images if lossy else [image.tobytes() for image in images.numpy()]
                    file.write(b"".join(pieces))
                    file.flush()  # before the index: an image that is listed is there
                    new_ends = end + np.cumsum([len(piece) for piece in pieces])
                    index.write(new_ends.astype(np.int64).tobytes())
                    index.flush()
                    end, done = int(new_ends[-1]), done + len(pieces)
                    progress.update(len(pieces))
        if lossy:
            np.save(_ends_of(path), np.fromfile(listed, np.int64))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        needed, free = count_bytes(len(dataset) - done, size, lossy), shutil.disk_usage(path.parent).free
        text = f"disk full: {path} needs {needed:,} more bytes, {free:,} are free; CAMLIB_CACHE moves caches elsewhere"
        raise OSError(errno.ENOSPC, text) from error
    os.replace(part, path)
    listed.unlink()


def _ends_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.ends.npy")


def _sweep_parts(path: Path, pattern: str) -> None:
    """Remove what was begun of other versions of these images and left alone for a day."""
    for part in path.parent.glob(pattern):
        if not part.name.startswith(path.name) and time.time() - part.stat().st_mtime > 86_400:
            part.unlink(missing_ok=True)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def run_ahead(batches: Iterable[Batch], count: int = 2) -> Iterator[Batch]:
    """The same batches, made in a thread while the one before is worked on, at most `count` of them waiting."""
    source = iter(batches)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, source, None) for _ in range(count))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, source, None))
            yield batch


def iterate_batches(
    dataset: Dataset, preset: Preset, batch_size: int, order: np.ndarray | None = None, *, training: bool = False
) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield (indices (B,), squashed images uint8 (B, 3, S, S)) in the given order, by default 0..N-1.

    A dataset that fits on the disk is squashed once and kept, before this returns; another one is decoded by worker
    processes in each pass. training: whether the images may be JPEGs, see `is_lossy`.
    Raises what the dataset raises for a corrupt or missing image, with its path.
    """
    order = np.arange(len(dataset)) if order is None else order
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    size, interpolation = preset.squash, preset.interpolation
    lossy = training and is_lossy(len(dataset), size)
    if not keeps_squashed(dataset, size, interpolation, lossy):
        decoded = _decode_batches(dataset, _squash_lossy if lossy else squash_image, size, interpolation, batches)
        return zip(batches, decoded, strict=True)
    if lossy:
        return _read_jpegs(_make_squashed(dataset, size, interpolation, lossy), batches)
    if (held := _find_squashed(dataset, size)) is not None:
        return ((batch, torch.from_numpy(held[batch])) for batch in batches)
    path = _make_squashed(dataset, size, interpolation, lossy=False)
    # Mapped anew for each batch: what was read through a mapping counts as this process's memory while it stays.
    return ((batch, torch.from_numpy(np.load(path, mmap_mode="r")[batch])) for batch in batches)


def _read_jpegs(path: Path, batches: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Tensor]]:
    ends = np.load(_ends_of(path))
    starts = np.concatenate([[0], ends[:-1]])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in batches:
            data = np.memmap(path, np.uint8, "r")  # anew, as in `iterate_batches`
            jpegs = [data[start:end].tobytes() for start, end in zip(starts[batch], ends[batch], strict=True)]
            try:
                images = _stack(pool.map(decode_jpeg, jpegs))
            except UNREADABLE as error:
                raise OSError(f"{path}: damaged; delete it and run again ({error})") from error
            yield batch, images
