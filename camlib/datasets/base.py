"""What a dataset is here: images with labels and boxes, a source that says where they come from, and parts of it."""

import functools
import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camlib.store import digest

NO_BOXES = np.zeros((0, 4))
# What PIL and zipfile raise for bytes that are no image, besides OSError.
UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, OverflowError, MemoryError, RuntimeError,
    struct.error, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError,
)  # fmt: skip
Protocol = Literal["", "official", "partitions", "draws", "attributes"]


@dataclass
class Dataset:
    """Images with labels and boxes. `ds[i]` is image i as an RGB `PIL.Image`, read when asked for.

    labels (N,) int64: indices into `classes`, which are sorted (wnids or folder names).
    boxes: N arrays float64 (Mi, 4), half-open, in pixels of the original image.
    sizes (N, 2) int64: (width, height), 0 where unknown (ILSVRC train).
    excluded (N,) bool: left out of localization.
    images (N, H, W, 3) uint8: of data in memory.
    files: paths, or members of the zip `archive`.
    extras: per-image data. Each entry is a list or array of length N, or a dict of arrays of length N.
    info: facts about the whole dataset. `whole`: how many images the split has, where these are fewer.
    """

    name: str
    split: str
    ids: list[str]
    labels: np.ndarray
    classes: list[str]
    class_names: list[str]
    boxes: list[np.ndarray]
    sizes: np.ndarray
    source: str
    synthetic: bool = False
    excluded: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    extras: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    images: np.ndarray | None = None
    files: list[str] | None = None
    archive: str | None = None

    def __post_init__(self) -> None:
        self.labels = np.asarray(self.labels, np.int64)
        self.sizes = np.asarray(self.sizes, np.int64).reshape(-1, 2)
        if not self.excluded.size:
            self.excluded = np.zeros(len(self), bool)
        columns = {name: getattr(self, name) for name in ("ids", "labels", "boxes", "sizes", "excluded")} | self.extras
        lengths = {name: {len(v) for v in _columns_of(value)} for name, value in columns.items()}
        if any(found - {len(self)} for found in lengths.values()):
            raise ValueError(f"{self.name}: expected {len(self)} entries of each, one per image; got {lengths}")

    def __len__(self) -> int:
        return len(self.ids)

    def check_index(self, i: int) -> None:
        """Raise IndexError, naming the dataset, if there is no image i."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.name} {self.split} has images 0..{len(self) - 1}; there is no image {i}")

    def __getitem__(self, i: int) -> Image.Image:
        """Image i. Raises FileNotFoundError or OSError with the file's path (in a zip: archive/member)."""
        self.check_index(i)
        if self.images is not None:
            return Image.fromarray(self.images[i])
        if self.files is None:
            raise ValueError(f"{self.name}: this dataset has neither images nor files")
        file = self.files[i]
        where = f"{self.archive}/{file}" if self.archive else file
        try:
            data = _open_zip(self.archive, os.getpid()).read(file) if self.archive else Path(file).read_bytes()
            return convert_rgb(Image.open(io.BytesIO(data)))
        except (FileNotFoundError, KeyError) as error:
            raise FileNotFoundError(f"{where}: no such image") from error
        except UNREADABLE as error:
            raise OSError(f"{where}: not a readable image ({error})") from error

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Dataset":
        """The images of `indices` (integers or a boolean mask), in that order; classes stay as they are."""
        chosen = np.arange(len(self))[np.asarray(indices, dtype=None if len(indices) else int)]
        taken = ("ids", "labels", "boxes", "sizes", "excluded", "images", "files", "extras")
        return replace(self, **{name: _take(getattr(self, name), chosen) for name in taken})

    def describe(self) -> str:
        """One line on what this is: name, kind, number of images and classes, source."""
        kind = "synthetic, drawn from a seed" if self.synthetic else "photographs"
        counts = f"{len(self):,} images ({self.split}), {len(self.classes):,} classes"
        return f"{self.name} ({kind}): {counts}; {self.source}"

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with name, split, ids, all annotations, pixels in memory, and the files' sizes.

        The same on every machine, packed or unpacked. The files are looked at once per object.
        Raises FileNotFoundError for a missing image.
        """
        return self._digest()

    @property
    def cache_key(self) -> str:
        """Key of what is computed from the images: as `fingerprint`, and it changes when a file is written anew."""
        return self._digest() + hashlib.sha256(repr(self._states[:, 1].tolist()).encode()).hexdigest()[:8]

    def _digest(self) -> str:
        sha = hashlib.sha256(repr((self.name, self.split, self.ids)).encode())
        counts = np.array([len(b) for b in self.boxes], np.int64)
        for array in (self.labels, counts, np.concatenate([NO_BOXES, *self.boxes]), self.images):
            if array is not None:
                sha.update(np.ascontiguousarray(array).data)
        if self.files is not None:  # the pixels of pictures in memory say it all
            sha.update(json.dumps(self.extras, default=np.ndarray.tolist, sort_keys=True).encode())
            sha.update(repr(self._states[:, 0].tolist()).encode())
        return sha.hexdigest()[:16]

    @functools.cached_property
    def _states(self) -> np.ndarray:
        """(N, 2) int64: size and time of the last change of each image's file; in a zip, size and checksum."""
        if self.archive:
            infos = _open_zip(self.archive, os.getpid()).infolist()
            members = {info.filename: (info.file_size, info.CRC) for info in infos}
            found = [members.get(file, (0, 0)) for file in self.files or ()]
        else:
            try:
                found = [(s.st_size, s.st_mtime_ns) for s in map(os.stat, self.files or ())]
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{error.filename}: no such image") from error
        return np.array(found, np.int64).reshape(-1, 2)


def convert_rgb(image: Image.Image) -> Image.Image:
    """An image as 8-bit RGB, transparency dropped. Greys of 16 bits keep their upper 8 (PIL would cut them off at 255).

    Raises ValueError for grey values that are not whole numbers, or that take more than 16 bits.
    """
    if image.mode == "F":
        raise ValueError("its grey values are fractions; expected 8 or 16 bits")
    if image.mode.startswith("I"):
        greys = np.asarray(image).astype(np.int64)
        if greys.min() < 0 or greys.max() > 65535:
            raise ValueError(f"its grey values are {greys.min()}..{greys.max()}; expected 8 or 16 bits")
        image = Image.fromarray((greys >> 8 if greys.max() > 255 else greys).astype(np.uint8))
    return image.convert("RGB")


def _columns_of(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else [value]


def _take(value: Any, chosen: np.ndarray) -> Any:
    if isinstance(value, dict):
        return {key: _take(v, chosen) for key, v in value.items()}
    if isinstance(value, np.ndarray):
        return value[chosen]
    return None if value is None else [value[i] for i in chosen]


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, process: int) -> zipfile.ZipFile:
    """One handle per process: DataLoader workers that inherit a handle would share one file position."""
    return zipfile.ZipFile(path)


@dataclass(frozen=True)
class Archive:
    """A file to download.

    to: what it becomes below the data folder: the folder that it is unpacked as, or, if it is no archive, its place.
    md5, sha256, size (bytes): where they are known. A SHA-256 here is the one that TensorFlow Datasets recorded.
    """

    url: str
    to: str
    md5: str = ""
    sha256: str = ""
    size: int = 0

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """The entry of a dataset: how it is read, what must be on disk, where to get it, on what terms.

    read(name, split, places, **options) -> Dataset. `places` holds "root" and what was found of the three tables.
    required: role -> alternative places below the root (or patterns), any one of which will do.
    to_train: the same, needed by the training split alone. optional: the same, used where it is there.
    by_hand: nothing is downloaded, for it takes a registration or has no address; `get` says what to do.
    protocol: how Table 5 splits it. "official": one training and one test list. "partitions": ten official ones.
        "draws": random draws of `per_class` and `test_per_class` images. "attributes": none. "": no such experiment.
    classes: how many the whole dataset has. images: split -> how many images the whole split has.
    options: what `load` takes, with the defaults, see `options.check_options`.
    """

    read: Callable[..., Dataset]
    splits: tuple[str, ...]
    licence: str
    required: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    to_train: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    get: str = ""
    by_hand: bool = False
    protocol: Protocol = ""
    classes: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def random_split(
    labels: np.ndarray, train_per_class: int, test_per_class: int | None = None, seed: int = 0, name: str = "labels"
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the same number of training images from each class -> (train, test) indices, sorted and disjoint.

    test_per_class: None takes all the others. name: of what is split, for an error.
    Raises ValueError if a class has too few images (at least one must be left to test).
    """
    if train_per_class < 1 or (test_per_class is not None and test_per_class < 1):
        raise ValueError(f"{name}: {train_per_class} training and {test_per_class} test images; expected >= 1")
    rng = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        needed = train_per_class + (test_per_class or 1)
        if len(members) < needed:
            raise ValueError(f"{name}: class {label} has {len(members)} images, {needed} are needed to split it")
        train.append(members[:train_per_class])
        test.append(members[train_per_class : needed if test_per_class else None])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def first_of_each(labels: np.ndarray, among: np.ndarray, each: int) -> np.ndarray:
    """The first `each` of the indices `among` of every class, class by class."""
    return np.concatenate([among[labels[among] == k][:each] for k in np.unique(labels[among])])


def keep_classes(dataset: Dataset, min_images: int) -> Dataset:
    """The images of the classes that have at least `min_images`, relabelled 0..C-1.

    Folders that `info["no_class"]` lists are dropped too. Raises ValueError if no class reaches `min_images`.
    """
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    dropped = dataset.info.get("no_class", ())
    kept = [k for k, name in enumerate(dataset.classes) if counts[k] >= min_images and name not in dropped]
    if not kept:
        raise ValueError(f"{dataset.name}: no class has {min_images} images; the largest has {counts.max()}")
    part = dataset.subset(np.isin(dataset.labels, kept))
    classes, names = ([every[k] for k in kept] for every in (dataset.classes, dataset.class_names))
    return replace(part, labels=np.searchsorted(kept, part.labels), classes=classes, class_names=names)


@dataclass
class _Cropped(Dataset):
    original: Dataset | None = None

    def __getitem__(self, i: int) -> Image.Image:
        return self.original[self.extras["row"][i]].crop(self.extras["crop"][i].tolist())  # type: ignore[index]


def crop_images(dataset: Dataset, boxes: NDArray) -> Dataset:
    """Each image cut to its box: a dataset of crops.

    boxes (N, 4), in original pixels, are rounded outwards and kept inside the image. Labels and ids stay; true boxes do
    not come along. Raises ValueError for boxes of another shape or not finite, or images of unknown size.
    """
    given = np.asarray(boxes, np.float64)
    if (dataset.sizes < 1).any():
        raise ValueError(f"{dataset.name} {dataset.split}: the sizes of its images are not known; crops need them")
    if given.shape != (len(dataset), 4) or not (given[:, 2:] > given[:, :2]).all() or not np.isfinite(given).all():
        raise ValueError(f"boxes have shape {given.shape}; expected finite ({len(dataset)}, 4) with x1 > x0, y1 > y0")
    low = np.floor(given[:, :2]).clip(0, dataset.sizes - 1)
    high = np.maximum(np.ceil(given[:, 2:]).clip(0, dataset.sizes), low + 1)
    crops = np.concatenate([low, high], 1).astype(np.int64)
    return _Cropped(
        f"{dataset.name}-crop-{digest(dataset.cache_key, crops.tolist())}", dataset.split, dataset.ids,
        dataset.labels, dataset.classes, dataset.class_names, [NO_BOXES] * len(dataset), crops[:, 2:] - crops[:, :2],
        f"{dataset.source}, cropped", dataset.synthetic, dataset.excluded,
        {"row": np.arange(len(dataset)), "crop": crops}, original=dataset,
    )  # fmt: skip
