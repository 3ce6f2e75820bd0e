"""Every dataset of the paper (section 4), read as it lies on disk into one form; what is missing and how to get it.

Boxes leave here half-open, in pixels of the original image. Annotations are checked, errors name the file, nothing is
downloaded.
"""

import functools
import hashlib
import inspect
import io
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from camlib.store import data_root

if TYPE_CHECKING:
    from camlib.synthetic import Scenes

NO_BOXES = np.zeros((0, 4))


@dataclass
class Dataset:
    """Images with labels and boxes; `ds[i]` is image i as RGB `PIL.Image`, read when asked for.

    labels (N,) int64, indices into `classes` (wnids or folder names, sorted); boxes: N arrays float64 (Mi, 4); sizes
    (N, 2) int64, (width, height), 0 where unknown (ILSVRC train); excluded (N,) bool, left out of localization; images
    (N, H, W, 3) uint8 of in-memory data. extras: a list or array, or an array in a dict, has one entry an image; all
    else (numbers, tuples, ...) is of the whole.
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
    images: np.ndarray | None = None
    files: list[str] | None = None  # paths, or members of the zip `archive`
    archive: str | None = None

    def __post_init__(self) -> None:
        self.labels = np.asarray(self.labels, np.int64)
        self.sizes = np.asarray(self.sizes, np.int64).reshape(-1, 2)
        if not self.excluded.size:
            self.excluded = np.zeros(len(self), bool)
        lengths = [len(v) for v in (self.ids, self.labels, self.boxes, self.sizes, self.excluded)]
        if len(set(lengths)) > 1:
            raise ValueError(f"{self.name}: ids, labels, boxes, sizes, excluded differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Image.Image:
        """Image i. Raises FileNotFoundError or OSError with the file's path (in a zip: archive/member)."""
        if self.images is not None:
            return Image.fromarray(self.images[i])
        if self.files is None:
            raise ValueError(f"{self.name}: this dataset has neither images nor files")
        file = self.files[i]
        where = f"{self.archive}/{file}" if self.archive else file
        try:
            data = _open_zip(self.archive, os.getpid()).read(file) if self.archive else Path(file).read_bytes()
            return Image.open(io.BytesIO(data)).convert("RGB")
        except (FileNotFoundError, KeyError) as error:
            raise FileNotFoundError(f"{where}: no such image") from error
        except (OSError, SyntaxError, ValueError, EOFError, zipfile.BadZipFile) as error:  # what PIL and zipfile raise
            raise OSError(f"{where}: not a readable image ({error})") from error

    def subset(self, indices: Sequence[int] | np.ndarray) -> "Dataset":
        """The images of `indices` (integers or a boolean mask), in that order; classes stay as they are."""
        chosen = np.arange(len(self))[np.asarray(indices, dtype=None if len(indices) else int)]
        taken = ("ids", "labels", "boxes", "sizes", "excluded", "images", "files")
        parts = {name: _take(getattr(self, name), chosen) for name in taken}
        return replace(self, **parts, extras={key: _take(value, chosen) for key, value in self.extras.items()})

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with name, split, ids, all annotations, pixels in memory, and the files' sizes.

        The same on every machine, packed or unpacked. Raises FileNotFoundError for a missing image.
        """
        return self._digest(self._stat_files())

    @property
    def cache_key(self) -> str:
        """What is computed is kept under this: as `fingerprint`, and it changes when an image file is written anew."""
        files = self._stat_files()
        return self._digest(files) + hashlib.sha256(repr([time for _, time in files]).encode()).hexdigest()[:8]

    def _digest(self, files: list[tuple[int, int]]) -> str:
        sha = hashlib.sha256(repr((self.name, self.split, self.ids)).encode())
        counts = np.array([len(b) for b in self.boxes], np.int64)
        for array in (self.labels, counts, np.concatenate([NO_BOXES, *self.boxes]), self.images):
            if array is not None:
                sha.update(np.ascontiguousarray(array).data)
        if self.files is not None:  # of pictures in memory the pixels say it all
            sha.update(json.dumps(self.extras, default=np.ndarray.tolist, sort_keys=True).encode())
            sha.update(repr([size for size, _ in files]).encode())
        return sha.hexdigest()[:16]

    def _stat_files(self) -> list[tuple[int, int]]:
        """Of each image's file the size and the time of its last change, or in a zip its checksum."""
        if self.archive:
            members = {
                info.filename: (info.file_size, info.CRC) for info in _open_zip(self.archive, os.getpid()).infolist()
            }
            return [members.get(file, (0, 0)) for file in self.files or ()]
        try:
            found = [os.stat(file) for file in self.files or ()]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error.filename}: no such image") from error
        return [(stat.st_size, stat.st_mtime_ns) for stat in found]


def _take(value: Any, chosen: np.ndarray) -> Any:
    if isinstance(value, dict):
        return {key: v[chosen] if isinstance(v, np.ndarray) else v for key, v in value.items()}
    if isinstance(value, np.ndarray):
        return value[chosen]
    return [value[i] for i in chosen] if isinstance(value, list) else value


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, process: int) -> zipfile.ZipFile:
    """One handle a process: handles that DataLoader workers inherit would share one file position."""
    return zipfile.ZipFile(path)


def random_split(
    labels: np.ndarray, train_per_class: int, test_per_class: int | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the same number of training images from each class -> (train, test) indices, sorted and disjoint.

    test_per_class None: all the others. ValueError when a class has too few images (at least one must be left to test).
    """
    if train_per_class < 1 or (test_per_class is not None and test_per_class < 1):
        raise ValueError(f"random_split: {train_per_class} training and {test_per_class} test images; expected >= 1")
    rng = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        needed = train_per_class + (test_per_class or 1)
        if len(members) < needed:
            raise ValueError(f"random_split: class {label} has {len(members)} images, {needed} are needed")
        train.append(members[:train_per_class])
        test.append(members[train_per_class : needed if test_per_class else None])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


# ------------------------------------------------------------------------------------------------ shared by the readers


def _find(root: Path, *places: str) -> Path | None:
    """The first of the places that is there; where a place is a pattern, the last of its matches."""
    found = [match for place in places for match in sorted(root.glob(place))[-1:]]
    return found[0] if found else None


def _need(name: str, root: Path, *places: str) -> Path:
    found = _find(root, *places)
    if found is None:
        raise FileNotFoundError(f"{name}: {' or '.join(places)} is missing in {root}")
    return found


def _lines(path: Path | zipfile.Path) -> list[list[str]]:
    """A list file as its non-empty lines, split at white space."""
    return [line.split() for line in _text_lines(path)]


def _text_lines(path: Path | zipfile.Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error


def _xml(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError) as error:  # the latter: an unknown encoding
        raise ValueError(f"{path}: malformed XML ({error})") from error


def _numbers(node: ElementTree.Element, tags: Sequence[str], path: Path) -> list[float]:
    """What the tags under a node, or the node's own attributes, hold."""
    try:
        numbers = [float(node.findtext(tag) or node.attrib.get(tag, "")) for tag in tags]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path}: <{node.tag}> lacks a number among {', '.join(tags)}")
    return numbers


def _voc_boxes(tree: ElementTree.Element, path: Path) -> np.ndarray:
    """Boxes (M, 4) of a VOC-style annotation; its corners are inclusive pixels, so the far ones gain 1."""
    nodes = tree.findall("object/bndbox")
    corners = [_numbers(node, ("xmin", "ymin", "xmax", "ymax"), path) for node in nodes]
    return np.add(np.reshape(corners, (-1, 4)), (0, 0, 1, 1))


def _check_boxes(boxes: list[np.ndarray], sizes: np.ndarray, names: Sequence[str], slack: int = 0) -> None:
    """ValueError, with the image's name, for a box that is empty or more than `slack` pixels outside its image."""
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


def _clip_boxes(given: Any, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """(what is left of the boxes inside the image, mask (M,) of those left, how many were cut, lost or empty)."""
    boxes = np.reshape(np.asarray(given, np.float64), (-1, 4))
    clipped = boxes.clip(0, np.tile(size, 2))
    left = np.all(clipped[:, 2:] > clipped[:, :2], axis=1)
    return clipped[left], left, int(((clipped != boxes).any(axis=1) | ~left).sum())


def _same(a: Iterable[str], b: Iterable[str], only_a: str, only_b: str) -> None:
    """ValueError with count and first names of what only one of the two has."""
    one, two = set(a), set(b)
    for extra, what in ((sorted(one - two), only_a), (sorted(two - one), only_b)):
        if extra:
            raise ValueError(f"{len(extra)} {what}: {', '.join(extra[:5])}{', ...' if len(extra) > 5 else ''}")


def _progress(items: Sequence[Any], what: str) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(items, what, disable=len(items) < 5000, leave=False)


def _image_sizes(files: Sequence[str]) -> np.ndarray:
    """(width, height) of image files, from their headers. Raises what names the missing or unreadable file."""
    sizes = np.zeros((len(files), 2), np.int64)
    for i, file in enumerate(_progress(files, "image sizes")):
        with Image.open(file) as image:
            sizes[i] = image.size
    return sizes


def _walk(base: Path) -> list[str]:
    """Images under a folder, at any depth, as sorted relative paths with forward slashes."""
    images = []
    for folder, _, files in os.walk(base):
        inside = Path(folder).relative_to(base).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        images += [prefix + f for f in files if f.lower().endswith((".jpg", ".jpeg", ".png")) and f[0] != "."]
    return sorted(images)


def _class_of(image: str) -> str:
    return image.rpartition("/")[0]


def _folder_dataset(
    name: str, split: str, base: Path, images: list[str], classes: list[str] | None = None, **given: Any
) -> Dataset:
    """Dataset of images under `base`; what is given stands in for what class folders and image headers say."""
    classes = sorted({_class_of(image) for image in images}) if classes is None else classes
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
        values["labels"] = np.array([index[_class_of(image)] for image in images], np.int64)
    if "sizes" not in given:
        values["sizes"] = _image_sizes(files)
    return Dataset(name=name, split=split, classes=classes, files=files, **values)


# ------------------------------------------------------------------------------------------------ one reader a layout
# Each is called with name, split, root, the places that its registry entry needs, then the options.


@functools.lru_cache(maxsize=4)
def _draw(variant: str, n: int, seed: int, size: int) -> "Scenes":
    """Pictures drawn once a process: several networks of a notebook ask for the same."""
    from camlib.synthetic import draw

    return draw(variant, n, seed=seed, size=size)


def _read_synthetic(name: str, split: str, root: Path, n: int | None = None, seed: int = 0, size: int = 64) -> Dataset:
    n = (3000 if split == "train" else 1000) if n is None else n
    drawn_from = 3 * seed + ("train", "val", "test").index(split)  # no two (seed, split) share a picture
    scenes = _draw(name.removeprefix("synthetic-"), n, drawn_from, size)
    names = list(scenes.class_names)
    # a variant's constants become tuples: lists are of single images
    extras = {k: tuple(v) if isinstance(v, list) and len(v) != n else v for k, v in scenes.extras.items()}
    ids = [f"{drawn_from}-{i:05d}" for i in range(n)]
    return Dataset(
        name, split, ids, scenes.labels, names, names, scenes.boxes, np.full((n, 2), size), f"synthetic (seed {seed})",
        synthetic=True, extras=extras | {"masks": scenes.masks}, images=scenes.images,
    )  # fmt: skip


def _read_tiny_imagenet(
    name: str, split: str, root: Path, place: Path, classes: int | None = None, per_class: int | None = None
) -> Dataset:
    """From folder or zip as it is. classes: only the first so many wnids; per_class: the first images of each."""
    base: Path | zipfile.Path = place
    source, archive, prefix = f"folder {place.name}", None, str(place)
    if place.is_file():
        md5 = hashlib.md5(place.read_bytes(), usedforsecurity=False).hexdigest()
        source = f"{place.name}, md5 {md5} ({'the official' if md5 == TINY_MD5 else 'not the official'} archive)"
        archive, prefix = str(place), "tiny-imagenet-200"
        try:
            base = zipfile.Path(place, f"{prefix}/")
        except zipfile.BadZipFile as error:
            raise ValueError(f"{place}: not a zip file, perhaps an incomplete download ({error})") from error
    words = dict(line.split("\t", 1) for line in (base / "words.txt").read_text(encoding="utf-8").splitlines())
    known = sorted(cells[0] for cells in _lines(base / "wnids.txt"))
    index = {wnid: k for k, wnid in enumerate(known[:classes])}

    if split == "train":
        lists = {wnid: f"train/{wnid}/{wnid}_boxes.txt" for wnid in index}
        rows = [[f"train/{w}", c[0], w, *c[1:]] for w, listed in lists.items() for c in _lines(base / listed)]
    else:
        rows = [["val", *cells] for cells in _lines(base / "val/val_annotations.txt")]
    kept, seen = [], Counter[str]()
    for row in rows:  # (folder, file, wnid, x0, y0, x1, y1)
        if len(row) != 7 or row[2] not in known or not all(c.isdigit() for c in row[3:]):
            raise ValueError(f"{base / row[0]}: expected file, wnid and 4 pixels in the list of boxes, got {row[1:]}")
        seen[row[2]] += 1
        if row[2] in index and (per_class is None or seen[row[2]] <= per_class):
            kept.append(row)
    corners = np.array([row[3:] for row in kept], np.float64).reshape(-1, 4)
    boxes = list(np.add(corners, (0, 0, 1, 1))[:, None])  # inclusive in the file
    sizes = np.full((len(kept), 2), 64)
    files = [f"{prefix}/{row[0]}/images/{row[1]}" for row in kept]
    _check_boxes(boxes, sizes, files)
    return Dataset(
        name, split, [row[1].rpartition(".")[0] for row in kept], np.array([index[row[2]] for row in kept], np.int64),
        list(index), [words.get(wnid, wnid) for wnid in index], boxes, sizes, source, files=files, archive=archive,
    )  # fmt: skip


def _devkit_synsets(root: Path) -> dict[str, tuple[int, str]]:
    """wnid -> (devkit ID 1..1000, words) of the classes; the file also holds their ancestors, which have children."""
    from scipy.io import loadmat

    synsets = np.atleast_1d(loadmat(root / ILSVRC_META, squeeze_me=True)["synsets"])
    return {str(s["WNID"]): (int(s["ILSVRC2012_ID"]), str(s["words"])) for s in synsets if s["num_children"] == 0}


def wnid_to_devkit_id(root: str | Path | None = None) -> dict[str, int]:
    """wnid -> ILSVRC2012_ID (1..1000), as submission files count classes; not the order of the sorted wnids.

    Reads the development kit's meta.mat; FileNotFoundError when it is not there.
    """
    folder = _folder(root)
    _need("ilsvrc2012", folder, ILSVRC_META)
    return {wnid: number for wnid, (number, _) in sorted(_devkit_synsets(folder).items())}


def _read_ilsvrc(name: str, split: str, root: Path, place: Path, annotations: Path) -> Dataset:
    """The official archives unpacked (images flat or in wnid folders), or Kaggle's tree; both give the same Dataset."""
    mapping = _find(root, "LOC_synset_mapping.txt", "ILSVRC/LOC_synset_mapping.txt")
    if (root / ILSVRC_META).exists():
        words = {wnid: text for wnid, (_, text) in _devkit_synsets(root).items()}
    else:
        lines = mapping.read_text(encoding="utf-8").splitlines() if mapping else []
        words = dict(line.split(" ", 1) for line in lines)
    if split == "train":
        place = _need(name, root, *ILSVRC_TRAIN)
    images = sorted(_walk(place), key=lambda image: image.rpartition("/")[2])
    stems = [image.rpartition("/")[2].rpartition(".")[0] for image in images]
    wnids = [_class_of(image) for image in images]
    source = f"{place.relative_to(root).as_posix()}, {len(images)} images"
    given: dict[str, Any] = {"sizes": np.zeros((len(images), 2))}
    if split == "val":
        files = [annotations / f"{stem}.xml" for stem in stems]
        _same(
            stems, (p.stem for p in annotations.glob("*.xml")),
            f"images in {place} have no annotation in {annotations}",
            f"annotations in {annotations} have no image in {place}",
        )  # fmt: skip
        given["boxes"] = []
        for i, file in enumerate(_progress(files, "annotations")):
            tree = _xml(file)
            found = {(node.findtext("name") or "").strip() for node in tree.iter("object")}
            if len(found) != 1 or found != ({wnids[i]} if wnids[i] else found) or not found <= (words.keys() or found):
                raise ValueError(f"{file}: objects are of {sorted(found)}, expected one class {wnids[i]}".rstrip())
            wnids[i] = found.pop()
            given["sizes"][i] = _numbers(tree, ("size/width", "size/height"), file)
            given["boxes"].append(_voc_boxes(tree, file))
        _check_boxes(given["boxes"], given["sizes"], [str(file) for file in files])
        excluded = _find(root, *ILSVRC_EXCLUDED)
        numbers = {int(cells[0]) for cells in _lines(excluded)} if excluded else set()
        given["excluded"] = np.array([int(stem.rpartition("_")[2]) in numbers for stem in stems], bool)
        source += f", boxes {annotations.relative_to(root).as_posix()}, " + (
            f"{excluded.name} excludes {given['excluded'].sum()}" if excluded else "no list of exclusions"
        )
    classes = sorted(words or set(wnids))
    if split == "train":
        _same(wnids, classes, f"folders in {place} are no class", f"classes have no folder in {place}")
    index = {wnid: k for k, wnid in enumerate(classes)}
    given |= {"ids": stems, "labels": np.array([index[wnid] for wnid in wnids], np.int64)}
    given["source"] = source if words else f"{source}, classes as they occur for want of {ILSVRC_META}"
    return _folder_dataset(
        name, split, place, images, classes, class_names=[words.get(wnid, wnid) for wnid in classes], **given
    )


def _read_folders(
    name: str, split: str, root: Path, base: Path, *, seed: int = 0, per_class: int, test_per_class: int | None = None
) -> Dataset:
    """A folder a class; "train" and "test" are random draw `seed` of so many images a class, "all" is everything."""
    images = [image for image in _walk(base) if _class_of(image) not in ("BACKGROUND_Google", "257.clutter")]
    classes = sorted({_class_of(image) for image in images})
    if nested := [c for c in classes if "/" in c]:
        raise ValueError(f"{base}: {', '.join(nested[:5])} is no class folder; expected images in {base.name}/<class>/")
    if "" in classes:
        raise ValueError(f"{base}: images lie in no class folder: {', '.join(i for i in images if '/' not in i)}")
    if len(classes) > (most := OFFICIAL_CLASSES[name]):
        raise ValueError(f"{base}: {len(classes)} class folders, expected at most {most}: {', '.join(classes)}")
    if split != "all":
        labels = np.array([classes.index(_class_of(image)) for image in images])
        chosen = random_split(labels, per_class, test_per_class, seed)[split == "test"]
        images = [images[i] for i in chosen]
    part = (
        f" of {len(classes)} of its {OFFICIAL_CLASSES[name]} classes" if len(classes) < OFFICIAL_CLASSES[name] else ""
    )
    source = f"folder {base.name}, {len(images)} images{part}" + (f" of random split {seed}" if split != "all" else "")
    return _folder_dataset(name, split, base, images, classes, source=source)


def _read_imagenet_samples(name: str, split: str, root: Path, base: Path, classes_file: Path) -> Dataset:
    """A few ImageNet photographs `<wnid>_<name>.JPEG`, without boxes, among all 1,000 classes."""
    listed = json.loads(classes_file.read_text(encoding="utf-8"))
    images = _walk(base)
    wnids = [image.rsplit("/", 1)[-1].split("_")[0] for image in images]
    _same(wnids, set(wnids) & set(listed["wnids"]), f"wnids of {base} are not in {classes_file}", "")
    labels = np.array([listed["wnids"].index(wnid) for wnid in wnids], np.int64)
    classes = {"classes": listed["wnids"], "class_names": listed["names"]}
    return replace(_folder_dataset(name, split, base, images, source=f"folder {base.name}"), labels=labels, **classes)


def _read_listed(name: str, split: str, base: Path, list_file: Path, classes: list[str], **given: Any) -> Dataset:
    """The images of an official list, which must be there; the classes must be the folders on disk."""
    listed, on_disk = [line.lstrip("/") for line in _text_lines(list_file)], _walk(base)  # names may hold spaces
    twice = [image for image, count in Counter(listed).items() if count > 1]
    if twice or not listed:
        raise ValueError(f"{list_file}: " + (f"lists {len(twice)} images twice: {twice[0]}" if twice else "is empty"))
    folders = {_class_of(image) for image in on_disk}
    _same(folders, classes, f"folders in {base} are in no list", f"classes of the lists have no folder in {base}")
    _same(set(listed) - set(on_disk), (), f"images of {list_file} are not in {base}", "")
    return _folder_dataset(name, split, base, listed, classes, **given)


def _read_sun397(name: str, split: str, root: Path, base: Path, lists: Path, partition: int = 1) -> Dataset:
    """partition: one of the 10 official ones, 50 training and 50 test images a class."""
    list_file = _need(name, lists, f"{'Training' if split == 'train' else 'Testing'}_{partition:02d}.txt")
    names = _find(lists, "ClassName.txt") or _need(name, base, "ClassName.txt")
    classes = sorted(cells[0].lstrip("/") for cells in _lines(names))
    return _read_listed(name, split, base, list_file, classes, source=f"folder SUN397, partition {partition} {split}")


def _read_indoor67(name: str, split: str, root: Path, base: Path) -> Dataset:
    lists = {s: _need(name, base.parent, f"{s.title()}Images.txt") for s in ("train", "test")}
    classes = sorted({_class_of(line) for file in lists.values() for line in _text_lines(file)})
    return _read_listed(name, split, base, lists[split], classes)


def _read_sun_attribute(name: str, split: str, root: Path, folder: Path, base: Path) -> Dataset:
    """extras: `attributes` (N, 102) float64, the share of votes (0, 1/3, 2/3 or 1); `attribute_names`, a tuple."""
    from scipy.io import loadmat

    def table(file: str, key: str) -> np.ndarray:
        path = _need(name, folder, f"{file}.mat")
        try:
            return loadmat(path, squeeze_me=True)[key]
        except (ValueError, KeyError, TypeError, NotImplementedError) as error:  # what scipy raises
            raise ValueError(f"{path}: no MATLAB file with {key} ({error})") from error

    images = [str(image) for image in np.atleast_1d(table("images", "images"))]
    _same(images, _walk(base), f"images of images.mat are not in {base}", f"images in {base} are not in images.mat")
    names = tuple(str(text).strip() for text in np.atleast_1d(table("attributes", "attributes")))
    votes = np.asarray(table("attributeLabels_continuous", "labels_cv"), np.float64)
    if votes.shape != (len(images), len(names)):
        raise ValueError(f"{folder}: labels_cv is {votes.shape}, expected {(len(images), len(names))}")
    if not ((votes >= 0) & (votes <= 1)).all():
        raise ValueError(f"{folder}/attributeLabels_continuous.mat: labels_cv must be shares of votes in 0..1")
    return _folder_dataset(name, split, base, images, extras={"attributes": votes, "attribute_names": names})


def _read_action40(name: str, split: str, root: Path, base: Path) -> Dataset:
    """extras: `person_boxes`, N arrays (Mi, 4), the person who acts; `clipped`, how many were cut at the border
    or lost, being outside or empty."""
    place, ending = base / "JPEGImages", f"_{split}.txt"
    lists = sorted((base / "ImageSplits").glob(f"*{ending}"))
    classes = [file.name.removesuffix(ending) for file in lists]
    pictured = {image.rpartition("_")[0] for image in _walk(place)}
    _same(
        pictured, classes,
        f"lists ImageSplits/<class>{ending} are missing in {base}, of images of",
        f"lists *{ending} in {base} have no image in {place}",
    )  # fmt: skip
    rows = [(cells[0], k) for k, file in enumerate(lists) for cells in _lines(file)]
    images = [image for image, _ in rows]
    strange = [f"{classes[k]}{ending}: {image}" for image, k in rows if image.rpartition("_")[0] != classes[k]]
    empty = [f"{classes[k]}{ending} is empty" for k in set(range(len(classes))) - {k for _, k in rows}]
    twice = [f"{image} is listed twice" for image, count in Counter(images).items() if count > 1]
    if wrong := strange + empty + twice:
        raise ValueError(f"{base / 'ImageSplits'}: expected each image once, in its class's list; {wrong[0]}")
    others = sorted((base / "ImageSplits").glob(f"*_{'test' if split == 'train' else 'train'}.txt"))
    both = {cells[0] for file in others for cells in _lines(file)} & set(images)
    if both:
        raise ValueError(f"{base / 'ImageSplits'}: {len(both)} images are in lists of both parts: {min(both)}")
    sizes = _image_sizes([str(place / image) for image in images])
    persons, clipped = [], 0
    for image, size in zip(images, sizes, strict=True):
        file = _need(name, base, f"XMLAnnotations/{Path(image).stem}.xml")
        boxes, _, cut = _clip_boxes(_voc_boxes(_xml(file), file), size)
        persons.append(boxes)
        clipped += cut
    return _folder_dataset(
        name, split, place, images, classes, labels=np.array([k for _, k in rows], np.int64), sizes=sizes,
        source=f"folder {base.name}, {len(images)} images, {clipped} boxes cut or lost at the border",
        extras={"person_boxes": persons, "clipped": clipped},
    )  # fmt: skip


def _read_cub200(name: str, split: str, root: Path, base: Path) -> Dataset:
    table: dict[str, dict[str, list[str]]] = {}
    for key, count in CUB_LISTS.items():
        file = _need(name, base, f"{key}.txt")
        rows = _lines(file)
        bad = [" ".join(row) for row in rows if len(row) != count + 1]
        if bad:
            raise ValueError(f"{file}: expected a number and {count} more in a line, got {bad[0]!r}")
        table[key] = {cells[0]: cells[1:] for cells in rows}
    for key in ("image_class_labels", "train_test_split", "bounding_boxes"):
        _same(table["images"], table[key], f"numbers of images.txt are not in {key}.txt", f"numbers in {key}.txt only")
    paths = {number: cells[0] for number, cells in table["images"].items()}
    _same(_walk(base / "images"), paths.values(), f"images in {base} are not in images.txt", f"images not in {base}")
    marks = {number: cells[0] for number, cells in table["train_test_split"].items()}
    if not set(marks.values()) <= {"0", "1"}:
        raise ValueError(f"{base}/train_test_split.txt: marks are {sorted(set(marks.values()))}, expected 0 and 1")
    chosen = [number for number, mark in marks.items() if (mark == "1") == (split == "train")]
    for number in chosen:
        if table["classes"].get(table["image_class_labels"][number][0]) != [_class_of(paths[number])]:
            raise ValueError(f"{base}/image_class_labels.txt: image {number} is of another class than its folder")
    try:
        corners = np.array([table["bounding_boxes"][number] for number in chosen], np.float64).reshape(-1, 4)
    except ValueError as error:
        raise ValueError(f"{base}/bounding_boxes.txt: {error}") from error
    corners[:, 2:] += corners[:, :2]  # x, y, width, height in the file
    classes = sorted(cells[0] for cells in table["classes"].values())
    dataset = _folder_dataset(name, split, base / "images", [paths[number] for number in chosen], classes)
    names = [f"{base}/bounding_boxes.txt, image {number} ({paths[number]})" for number in chosen]
    _check_boxes(list(corners[:, None]), dataset.sizes, names, slack=1)  # the file may count pixels from 1
    dataset.boxes = list(corners.clip(0, np.tile(dataset.sizes, 2))[:, None])
    return dataset


def _read_svt(name: str, split: str, root: Path, train: Path, test: Path) -> Dataset:
    """Boxes are those of words; extras: `words`, N lists of them, and `clipped`, how many were cut at the border
    or lost, being outside or empty."""
    lists = [file for part, file in (("train", train), ("test", test)) if split in (part, "all")]
    nodes = [(file, node) for file in lists for node in _xml(file).iter("image")]
    images = [(node.findtext("imageName") or "").strip() for _, node in nodes]
    if wrong := [repr(image) for image, count in Counter(images).items() if count > 1 or not image]:
        raise ValueError(
            f"{' or '.join(map(str, lists))}: expected each image once, with its imageName; got {wrong[0]}"
        )
    sizes = _image_sizes([str(train.parent / image) for image in images])
    boxes, words, clipped = [], [], 0
    for (file, node), size in zip(nodes, sizes, strict=True):
        tagged = node.findall(".//taggedRectangle")
        given = np.reshape([_numbers(t, ("x", "y", "width", "height"), file) for t in tagged], (-1, 4))
        given[:, 2:] += given[:, :2]
        kept, left, cut = _clip_boxes(given, size)
        boxes.append(kept)
        words.append([(t.findtext("tag") or "").strip() for t, inside in zip(tagged, left, strict=True) if inside])
        clipped += cut
    return _folder_dataset(
        name, split, train.parent, images, ["text"], labels=np.zeros(len(images), np.int64), sizes=sizes, boxes=boxes,
        source=f"folder {train.parent.name}, {len(images)} images, {clipped} boxes cut or lost at the border",
        extras={"words": words, "clipped": clipped},
    )  # fmt: skip


_PART = re.compile(r"( (occluded|crop|cropped|part))+$")  # what annotators add to an object's name


def _read_sun2012(name: str, split: str, root: Path, place: Path, annotations: Path) -> Dataset:
    """Boxes bound the polygons. extras: `objects`, N lists of names, in lower case and without "occluded" or "crop";
    `polygons`, N lists of arrays (P, 2), x and y.

    `skipped`: polygons left out, unnamed, of under three points or wholly outside; `clipped`: boxes cut at the border.
    """
    files = {p.relative_to(annotations).with_suffix("").as_posix(): p for p in annotations.rglob("[!.]*.xml")}
    dataset = _folder_dataset(name, split, place, _walk(place), source="folder SUN2012")
    _same(
        dataset.ids, files,
        f"images in {place} have no annotation in {annotations}",
        f"annotations in {annotations} have no image in {place}",
    )  # fmt: skip
    objects: list[list[str]] = []
    polygons: list[list[np.ndarray]] = []
    skipped = clipped = 0
    for i, key in enumerate(_progress(dataset.ids, "annotations")):
        nodes = [node for node in _xml(files[key]).iter("object") if (node.findtext("deleted") or "0").strip() != "1"]
        drawn = [np.reshape([_numbers(pt, "xy", files[key]) for pt in node.iter("pt")], (-1, 2)) for node in nodes]
        names = [_PART.sub("", (node.findtext("name") or "").strip().lower()) for node in nodes]
        whole = [name and len(points) > 2 for name, points in zip(names, drawn, strict=True)]
        bounds = [(*p.min(axis=0), *p.max(axis=0)) if ok else (0, 0, 0, 0) for p, ok in zip(drawn, whole, strict=True)]
        dataset.boxes[i], left, cut = _clip_boxes(bounds, dataset.sizes[i])
        objects.append([name for name, keep in zip(names, left, strict=True) if keep])
        polygons.append([points for points, keep in zip(drawn, left, strict=True) if keep])
        skipped += int((~left).sum())
        clipped += cut - int((~left).sum())
    dataset.extras = {"objects": objects, "polygons": polygons, "skipped": skipped, "clipped": clipped}
    dataset.source += f", {skipped} polygons skipped, {clipped} cut at the border"
    return dataset


# ------------------------------------------------------------------------------------------------ the registry


@dataclass(frozen=True)
class Entry:
    """How a dataset is read, what must be there (of each item, any one place), where to get it, on what terms.

    The reader is given the places of `needs`, and finds those of `lists` itself.
    """

    read: Callable[..., Dataset]
    splits: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]
    get: str
    terms: str
    defaults: dict[str, int] = field(default_factory=dict)  # of the reader's options
    lists: tuple[tuple[str, ...], ...] = ()


CUB_LISTS = {"images": 1, "image_class_labels": 1, "train_test_split": 1, "bounding_boxes": 4, "classes": 1}  # columns
TINY_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
ILSVRC_TRAIN = ("ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train", "train")
ILSVRC_META = "ILSVRC2012_devkit_t12/data/meta.mat"
# The list of images left out of localization is part of the development kits after 2012's; the images are the same.
ILSVRC_EXCLUDED = [
    f"{folder}ILSVRC*clsloc_validation_blacklist.txt"
    for folder in ("", "ILSVRC2012_devkit_t12/data/", "ILSVRC/devkit/data/")
]
RESEARCH = "non-commercial research; the photographs belong to their owners"
# Of a dataset without a list of its classes a subset is welcome; one folder too many is noticed.
OFFICIAL_CLASSES = {
    "sun397": 397, "indoor67": 67, "scene15": 15, "caltech101": 101, "caltech256": 256, "action40": 40, "event8": 8,
}  # fmt: skip
TRAIN_TEST, TRAIN_TEST_ALL = ("train", "test"), ("train", "test", "all")
_SYNTHETIC = Entry(_read_synthetic, ("train", "val", "test"), (), "drawn from a seed, always there", "MIT")
REGISTRY: dict[str, Entry] = {
    **dict.fromkeys(
        (f"synthetic-{v}" for v in ("objects", "transfer", "finegrained", "actions", "scenes", "concepts", "text")),
        _SYNTHETIC,
    ),
    "tiny-imagenet-200": Entry(
        _read_tiny_imagenet, ("train", "val"), (("tiny-imagenet-200", "tiny-imagenet-200*.zip"),),
        f"http://cs231n.stanford.edu/tiny-imagenet-200.zip (md5 {TINY_MD5}), free; may stay packed", RESEARCH,
    ),
    "imagenet-samples": Entry(
        _read_imagenet_samples, ("val",), (("imagenet-samples",), ("imagenet_classes.json",)),
        "your own ImageNet photographs (image-net.org), named <wnid>_<anything>.JPEG, in imagenet-samples/, and "
        'imagenet_classes.json with the 1,000 sorted "wnids" and their "names"', RESEARCH,
    ),
    "ilsvrc2012": Entry(
        _read_ilsvrc, ("train", "val"),
        (("ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", "val"),
         ("ILSVRC2012_bbox_val_v3/val", "ILSVRC/Annotations/CLS-LOC/val")),
        "register at image-net.org; from image-net.org/data/ILSVRC/2012/, each unpacked into a folder of its name:\n"
        "    ILSVRC2012_img_val.tar (md5 29b22e2961454d5413ddabcf34fc5622)\n"
        "    ILSVRC2012_bbox_val_v3.tgz (md5 f4cd18b5ea29fe6bbea62ec9c20d80f0)\n"
        "    ILSVRC2012_devkit_t12.tar.gz (md5 fa75699e90414af021442c21a62c3abf)\n"
        "    ILSVRC2012_img_train.tar (md5 1d675b47d978889d74fa0da5fadfb00e), to train only\n"
        "    or Kaggle's tree ILSVRC/ with LOC_synset_mapping.txt, as it is",
        f"registration; {RESEARCH}",
    ),
    "cub200": Entry(
        _read_cub200, TRAIN_TEST, (("CUB_200_2011",),),
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz (md5 97eceeb196236b17998738112f37df78)",
        RESEARCH, lists=tuple((f"CUB_200_2011/{key}.txt",) for key in CUB_LISTS),
    ),
    "caltech101": Entry(
        _read_folders, TRAIN_TEST_ALL, (("caltech101/101_ObjectCategories", "101_ObjectCategories"),),
        "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip (md5 3138e1922a9193bfa496528edbbc45d0)",
        "CC BY 4.0", {"per_class": 30},
    ),
    "caltech256": Entry(
        _read_folders, TRAIN_TEST_ALL, (("caltech256/256_ObjectCategories", "256_ObjectCategories"),),
        "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar "
        "(md5 67b4f42ca05d46448c6bb8ecd2220f6d)", "CC BY 4.0", {"per_class": 30},
    ),
    "sun397": Entry(
        _read_sun397, TRAIN_TEST, (("SUN397",), ("SUN397/Partitions", "Partitions")),
        "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz (md5 8ca2778205c41d23104230ba66911c7a) and, "
        "unpacked into SUN397/Partitions/, Partitions.zip from the same page", RESEARCH,
        lists=tuple((f"SUN397/Partitions/{k}_01.txt", f"Partitions/{k}_01.txt") for k in ("Training", "Testing")),
    ),
    "indoor67": Entry(
        _read_indoor67, TRAIN_TEST, (("indoor67/Images", "indoorCVPR_09/Images"),),
        "http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar; beside its Images/ "
        "TrainImages.txt and TestImages.txt from https://web.mit.edu/torralba/www/", RESEARCH,
        lists=tuple((f"indoor67/{k}Images.txt", f"indoorCVPR_09/{k}Images.txt") for k in ("Train", "Test")),
    ),
    "scene15": Entry(
        _read_folders, TRAIN_TEST_ALL, (("scene15", "15-Scene"),),
        "https://figshare.com/articles/dataset/7007177", "CC BY 4.0", {"per_class": 50},
    ),
    "sun-attribute": Entry(
        _read_sun_attribute, ("all",),
        (("SUNAttributeDB",), ("SUNAttributeDB_Images/images", "SUNAttributeDB/images")),
        "https://cs.brown.edu/~gmpatter/Attributes/SUNAttributeDB.tar.gz and SUNAttributeDB_Images.tar.gz",
        RESEARCH,
        lists=tuple((f"SUNAttributeDB/{k}.mat",) for k in ("images", "attributes", "attributeLabels_continuous")),
    ),
    "action40": Entry(
        _read_action40, TRAIN_TEST, (("Stanford40", "action40"),),
        "http://vision.stanford.edu/Datasets/Stanford40_{JPEGImages,ImageSplits,XMLAnnotations}.zip, into Stanford40/",
        RESEARCH,
        lists=tuple((f"Stanford40/{k}", f"action40/{k}") for k in ("JPEGImages", "ImageSplits", "XMLAnnotations")),
    ),
    "event8": Entry(
        _read_folders, TRAIN_TEST_ALL, (("event_dataset", "event8"),),
        "http://vision.stanford.edu/lijiali/event_dataset/event_dataset.rar, class folders into event_dataset/",
        RESEARCH, {"per_class": 70, "test_per_class": 60},
    ),
    "svt": Entry(
        _read_svt, TRAIN_TEST_ALL, (("svt1/train.xml",), ("svt1/test.xml",)),
        "http://www.iapr-tc11.org/dataset/SVT/svt.zip", RESEARCH,
    ),
    "sun2012": Entry(
        _read_sun2012, ("all",), (("SUN2012/Images",), ("SUN2012/Annotations",)),
        "http://groups.csail.mit.edu/vision/SUN/releases/SUN2012.tar.gz (md5 5188e9503debd4511fa45cc856fb46ce)",
        RESEARCH,
    ),
}  # fmt: skip


def _folder(root: str | Path | None) -> Path:
    return data_root() if root is None else Path(root)


def _registered(name: str) -> Entry:
    if name not in REGISTRY:
        raise ValueError(f"unknown dataset {name!r}; expected one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def _missing(name: str, root: str | Path | None, train: bool) -> list[str]:
    entry = _registered(name)
    needs = entry.needs + entry.lists + ((ILSVRC_TRAIN,) if train and name == "ilsvrc2012" else ())
    return [" or ".join(places) for places in needs if not _find(_folder(root), *places)]


def is_available(name: str, root: str | Path | None = None, train: bool = False) -> bool:
    """Whether the files that a dataset needs are there (they are not read). ValueError for an unknown name.

    train: also those of a training split that lies apart (ILSVRC).
    """
    return not _missing(name, root, train)


def describe_missing(name: str, root: str | Path | None = None, train: bool = False) -> str:
    """What of a dataset is missing, where it goes, how to get it and on what terms."""
    entry = _registered(name)
    missing = _missing(name, root, train)
    return (
        f"{name}: {'missing: ' + '; '.join(missing) if missing else 'complete'}\n  goes into: {_folder(root)}\n"
        f"  get it: {entry.get}\n  terms: {entry.terms}\n  layout: data/README.md"
    )


def load(name: str, root: str | Path | None = None, split: str = "val", **options: Any) -> Dataset:
    """Read a dataset of the registry from `root` (default: data_root()).

    options: synthetic-*: n, seed, size; tiny-imagenet-200: classes, per_class; sun397: partition (1..10); caltech101,
    caltech256, scene15, event8: seed, per_class, test_per_class of the random split. Splits and extras: data/README.md.
    Raises ValueError for an unknown name or split, and for annotations at odds with themselves or the images;
    FileNotFoundError for data that is not there, saying how to get it; TypeError for an unknown option.
    """
    entry = _registered(name)
    if split not in entry.splits:
        raise ValueError(f"{name} has no split {split!r}; expected one of {', '.join(entry.splits)}")
    folder = _folder(root)
    if _missing(name, root, False):
        raise FileNotFoundError(describe_missing(name, root))
    takes = list(inspect.signature(entry.read).parameters)[3 + len(entry.needs) :]
    for option in options:
        if option not in takes:
            raise TypeError(f"{name} takes no option {option!r}; it takes {', '.join(takes) or 'none'}")
    places = [_find(folder, *alternatives) for alternatives in entry.needs]
    dataset = entry.read(name, split, folder, *places, **(entry.defaults | options))
    if not len(dataset) and places:
        raise FileNotFoundError(f"{name}: no images of split {split!r} in {', '.join(map(str, places))}")
    return dataset
