"""What the readers share: lists, XML, checks of boxes, and the walk over image folders."""

import json
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image, UnidentifiedImageError

from camlib.datasets.archives import UNREADABLE_MEMBER
from camlib.datasets.base import NO_BOXES, UNREADABLE, Dataset
from camlib.store import DAMAGE, cache_dir, write_aside

ARRAY, PACKED = 14, 15  # kinds of elements of a MATLAB 5 file


def find_place(root: Path, *places: str) -> Path | None:
    """The first of the places that exists below root; of a pattern, the last match."""
    found = [match for place in places for match in sorted(root.glob(place))[-1:]]
    return found[0] if found else None


def need_place(name: str, root: Path, *places: str) -> Path:
    """As `find_place`; raises FileNotFoundError, naming the dataset and the places, if none exists."""
    found = find_place(root, *places)
    if found is None:
        raise FileNotFoundError(f"{name}: {' or '.join(places)} is missing in {root}")
    return found


def read_lines(path: Path | zipfile.Path) -> list[str]:
    """The non-empty lines of a list, stripped.

    Raises FileNotFoundError; ValueError, naming the file (in a zip: archive/member), if it is damaged or not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list")
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error
    except UNREADABLE_MEMBER as error:
        raise ValueError(f"{path}: can't be read ({error})") from error


def read_pairs(path: Path | zipfile.Path, separator: str) -> dict[str, str]:
    """The lines of a list "key<separator>text". Raises ValueError, naming file and line, for a line without it."""
    pairs = {}
    for line in read_lines(path):
        key, found, text = line.partition(separator)
        if not found:
            raise ValueError(f"{path}: expected a name, {separator!r} and words in each line, got {line!r}")
        pairs[key] = text.strip()
    return pairs


def read_columns(path: Path, *keys: str) -> dict[str, list[str]]:
    """Lists of texts of one length from a JSON object. Raises ValueError, naming the file, for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        columns = {key: found[key] for key in keys}
        kinds = [
            isinstance(column, list) and all(isinstance(text, str) for text in column) for column in columns.values()
        ]
        if not all(kinds) or len({len(column) for column in columns.values()}) != 1:
            raise ValueError("they are not lists of texts of one length")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object with the lists {', '.join(keys)} ({error!r})") from error
    return columns


def read_matlab(path: Path, key: str) -> np.ndarray:
    """One array of a MATLAB file, without axes of length 1. Raises ValueError, naming the file, if it is not there."""
    from scipy.io import loadmat

    try:
        _check_matlab(path.read_bytes())
        return loadmat(path, squeeze_me=True, verify_compressed_data_integrity=True)[key]
    except FileNotFoundError:
        raise
    except Exception as error:  # what scipy raises depends on the damage
        raise ValueError(f"{path}: no MATLAB file with {key} ({error!r})") from error


def _check_matlab(data: bytes) -> None:
    """Raise an error for a damaged MATLAB 5 file: scipy would end the process. Each array is packed with a checksum."""
    order, at = {b"IM": "<", b"MI": ">"}[data[126:128]], 128
    while at < len(data):
        kind, size = struct.unpack(f"{order}II", data[at : at + 8])
        whole = zlib.decompress(data[at + 8 : at + 8 + size]) if kind == PACKED else data[at : at + 8 + size]
        if struct.unpack(f"{order}II", whole[:8]) != (ARRAY, len(whole) - 8):
            raise ValueError(f"damaged or cut at byte {at:,}")
        at += 8 + size


def list_files(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that match the pattern, sorted; hidden ones (those of macOS among them) are ignored."""
    return sorted(path for path in folder.glob(pattern) if path.name[0] != ".")


def read_cells(path: Path | zipfile.Path) -> list[list[str]]:
    """The non-empty lines of a list, each split at white space."""
    return [line.split() for line in read_lines(path)]


def parse_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file; raises ValueError, naming the file, if it is malformed."""
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError) as error:  # the latter: an unknown encoding
        raise ValueError(f"{path}: malformed XML ({error})") from error


def read_numbers(node: ElementTree.Element, tags: Sequence[str], path: Path) -> list[float]:
    """The numbers of a node's children `tags`, or of its attributes of these names."""
    try:
        numbers = [float(node.findtext(tag) or node.attrib.get(tag, "")) for tag in tags]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path}: <{node.tag}> lacks a number among {', '.join(tags)}")
    return numbers


def read_voc_boxes(tree: ElementTree.Element, path: Path) -> np.ndarray:
    """Boxes (M, 4) of a VOC-style annotation. Its corners are inclusive pixels, so the far ones gain 1."""
    nodes = tree.findall("object/bndbox")
    corners = [read_numbers(node, ("xmin", "ymin", "xmax", "ymax"), path) for node in nodes]
    return np.add(np.reshape(corners, (-1, 4)), (0, 0, 1, 1))


def check_inside(boxes: list[np.ndarray], sizes: np.ndarray, names: Sequence[str], slack: int = 0) -> None:
    """Raise ValueError, with the image's name, for a box that is empty or more than `slack` px outside its image."""
    owner = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])
    flat = np.concatenate([NO_BOXES, *boxes])
    low, high = flat[:, :2], flat[:, 2:]
    good = (high > low) & (low >= -slack) & (high <= sizes[owner] + slack)  # False for NaN
    bad = np.flatnonzero(~good.all(axis=1))
    if len(bad):
        (width, height), (x0, y0, x1, y1) = sizes[owner[bad[0]]], flat[bad[0]]
        raise ValueError(
            f"{names[owner[bad[0]]]}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g}), half-open, is empty or leaves the image "
            f"of {width:g} x {height:g}; {len(bad)} such boxes in all"
        )


def clip_boxes(given: Any, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Boxes (M, 4) clipped to the image -> (those left, mask (M,) of those left, number cut, lost or empty)."""
    boxes = np.reshape(np.asarray(given, np.float64), (-1, 4))
    clipped = boxes.clip(0, np.tile(size, 2))
    left = np.all(clipped[:, 2:] > clipped[:, :2], axis=1)
    return clipped[left], left, int(((clipped != boxes).any(axis=1) | ~left).sum())


def check_same(a: Iterable[str], b: Iterable[str], only_a: str, only_b: str) -> None:
    """Raise ValueError, with count and first names, for what only one of the two has."""
    one, two = set(a), set(b)
    for extra, what in ((sorted(one - two), only_a), (sorted(two - one), only_b)):
        if extra:
            raise ValueError(f"{len(extra)} {what}: {', '.join(extra[:5])}{', ...' if len(extra) > 5 else ''}")


def find_twice(names: Iterable[str]) -> list[str]:
    """The names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def keep_arrays(kind: str, key: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Named arrays that are computed once per key, and read from the cache after that, where there is one.

    Raises ValueError, naming the file, for what the cache keeps and can't be read.
    """
    try:
        kept = cache_dir() / kind / f"{key}.npz"
    except FileNotFoundError:  # camlib was installed without its checkout, and keeps nothing
        return compute()
    if not kept.exists():
        arrays = compute()
        with suppress(OSError), write_aside(kept) as aside:  # what can't be kept is computed again
            np.savez(aside, **arrays)  # type: ignore[arg-type]
        return arrays
    try:
        with open(kept, "rb") as file, np.load(file) as found:
            return {name: found[name] for name in found.files}
    except DAMAGE as error:
        raise ValueError(f"{kept}: a damaged file of the cache; delete it and run again ({error})") from error


def show_progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    """The items, with a progress bar where there are many."""
    from tqdm import tqdm

    return tqdm(items, what, disable=len(items) < 5000, leave=False)


def read_sizes(files: Sequence[str]) -> np.ndarray:
    """(width, height) of image files, from their headers. Raises what names the missing or unreadable file."""
    sizes = np.zeros((len(files), 2), np.int64)
    for i, file in enumerate(show_progress(files, "image sizes")):
        try:
            with Image.open(file) as image:
                sizes[i] = image.size
        except (FileNotFoundError, UnidentifiedImageError):  # these name the file themselves
            raise
        except UNREADABLE as error:
            raise ValueError(f"{file}: not a readable image ({error})") from error
    return sizes


def measure_sizes(dataset: Dataset) -> Dataset:
    """The dataset with its images' sizes, read from the files where they are not known (ILSVRC's training images)."""
    unknown = np.flatnonzero((dataset.sizes < 1).any(1))
    if not len(unknown):
        return dataset
    sizes = dataset.sizes.copy()
    in_files = dataset.files is not None and dataset.archive is None
    sizes[unknown] = read_sizes([dataset.files[i] for i in unknown]) if in_files else [dataset[i].size for i in unknown]  # type: ignore[index]
    return replace(dataset, sizes=sizes)


def walk_images(base: Path, suffixes: tuple[str, ...] = (".jpg", ".jpeg", ".png")) -> list[str]:
    """Images under a folder, at any depth, as sorted relative paths with forward slashes.

    Links are followed. Hidden files and folders are ignored. Raises ValueError for a link to a folder above it.
    """
    images = []
    for folder, inner, files in os.walk(base, followlinks=True):
        inner[:] = [name for name in inner if name[0] != "."]
        for name in inner:
            path = Path(folder, name)
            if path.is_symlink() and Path(folder).resolve().is_relative_to(path.resolve()):
                raise ValueError(f"{path}: links to a folder that it lies in")
        inside = Path(folder).relative_to(base).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        images += [prefix + f for f in files if f.lower().endswith(suffixes) and f[0] != "."]
    return sorted(images)


def class_of(image: str) -> str:
    """The folder part of a relative path."""
    return image.rpartition("/")[0]


def build_folder_dataset(
    name: str, split: str, base: Path, images: list[str], classes: list[str] | None = None, **given: Any
) -> Dataset:
    """A dataset of images under `base`. What is `given` replaces what class folders and image headers say."""
    classes = sorted({class_of(image) for image in images}) if classes is None else classes
    files = [str(base / image) for image in images]
    values: dict[str, Any] = {
        "ids": [image.rpartition(".")[0] for image in images],
        # 001.Black_footed_Albatross -> Black footed Albatross; the letter that SUN sorts by goes: a/abbey -> abbey
        "class_names": [re.sub(r"^(\d+\.|\w/)", "", c).replace("_", " ") for c in classes],
        "boxes": [NO_BOXES] * len(images),
        "source": f"folder {base.name}, {len(images)} images of split {split}",
    } | given
    if "labels" not in given:
        index = {c: k for k, c in enumerate(classes)}
        values["labels"] = np.array([index[class_of(image)] for image in images], np.int64)
    if "sizes" not in given:
        values["sizes"] = read_sizes(files)
    return Dataset(name=name, split=split, classes=classes, files=files, **values)


def read_listed(name: str, split: str, base: Path, list_file: Path, classes: list[str], **given: Any) -> Dataset:
    """The images of an official list, all of which must exist. The classes must be the folders on disk."""
    listed, on_disk = [line.lstrip("/") for line in read_lines(list_file)], walk_images(base)  # names may hold spaces
    twice = find_twice(listed)
    if twice or not listed:
        raise ValueError(f"{list_file}: " + (f"lists {len(twice)} images twice: {twice[0]}" if twice else "is empty"))
    folders = {class_of(image) for image in on_disk}
    check_same(folders, classes, f"folders in {base} are in no list", f"classes of the lists have no folder in {base}")
    check_same(set(listed) - set(on_disk), (), f"images of {list_file} are not in {base}", "")
    return build_folder_dataset(name, split, base, listed, classes, **given)
