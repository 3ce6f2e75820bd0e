"""Every dataset of the paper (Section 4) and the drawn ones, as they lie on disk: one file per source.

`load` reads one; `is_available` and `describe_missing` say what is there. Boxes leave here half-open, in pixels of the
original image. Annotations are checked, and errors name the file.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from camlib.datasets import action40, class_folders, coco, cub200, imagenet, photos, sun, svt, synthetic, tiny_imagenet
from camlib.datasets.archives import find_damage, read_note
from camlib.datasets.base import (
    Dataset,
    Source,
    crop_images,
    first_of_each,
    keep_classes,
    random_split,
)
from camlib.datasets.download import CHANGED
from camlib.datasets.options import check_options
from camlib.datasets.parsing import find_place
from camlib.datasets.photos import load_photos
from camlib.store import data_root

__all__ = [
    "REGISTRY", "Dataset", "Source", "crop_images", "describe_missing", "first_of_each", "get_source", "is_available",
    "keep_classes", "load", "load_from", "load_photos", "random_split",
]  # fmt: skip

UNVERIFIED = "; unverified: unpacked from an archive with another checksum than the published"

REGISTRY: dict[str, Source] = {
    **synthetic.SOURCES,
    **photos.SOURCES,
    **imagenet.SOURCES,
    **tiny_imagenet.SOURCES,
    **cub200.SOURCES,
    **class_folders.SOURCES,
    **sun.SOURCES,
    **action40.SOURCES,
    **svt.SOURCES,
    **coco.SOURCES,
}


def get_source(name: str) -> Source:
    """The entry of a dataset. Raises ValueError, listing the names, for an unknown one."""
    if not isinstance(name, str) or name not in REGISTRY:
        close = get_close_matches(str(name).lower(), REGISTRY)
        hint = f"did you mean {' or '.join(close)}?" if close else f"expected one of {', '.join(REGISTRY)}"
        raise ValueError(f"unknown dataset {name!r}; {hint}")
    return REGISTRY[name]


def _missing(name: str, root: str | Path | None, train: bool) -> list[str]:
    source, folder = get_source(name), data_root() if root is None else Path(root)
    needed = {**source.required, **(source.to_train if train else {})}
    found = {" or ".join(places): find_place(folder, *places) for places in needed.values()}
    damage = {places: find_damage(place) if place else places for places, place in found.items()}
    return [text for text in damage.values() if text]


def is_available(name: str, root: str | Path | None = None, train: bool = False) -> bool:
    """Whether the files that a dataset needs exist. Of them archives alone are read: a damaged one is not there.

    train: also those of a training split that lies apart (ILSVRC). Raises ValueError for an unknown name.
    """
    return not _missing(name, root, train)


def _is_changed(source: Source, folder: Path) -> bool:
    return any(read_note(folder / archive.to).get("check") == CHANGED for archive in source.archives)


def describe_missing(name: str, root: str | Path | None = None, train: bool = False) -> str:
    """What is missing of a dataset, where it goes, how to get it and on what terms."""
    source, missing = get_source(name), _missing(name, root, train)
    checks = {a.url: f"md5 {a.md5}" if a.md5 else f"sha256 {a.sha256}" if a.sha256 else "" for a in source.archives}
    archives = [f"{url} ({check or 'unverified: no published checksum'})" for url, check in checks.items()]
    command = [] if source.by_hand or not archives else [f"camlib data get {name}"]
    get = "\n    ".join([*command, *archives, *([source.get] if source.get else [])])
    folder = data_root() if root is None else Path(root)
    there = f"there, a run counts its images{UNVERIFIED if _is_changed(source, folder) else ''}"
    return (
        f"{name}: {'missing: ' + '; '.join(missing) if missing else there}\n"
        f"  goes into: {folder}{'' if folder.is_dir() else ' (no such folder yet)'}\n"
        f"  get it: {get}\n  terms: {source.licence}\n  layout: data/README.md"
    )


def load_from(settings: Mapping[str, Any]) -> Dataset:
    """The dataset of a notebook's mapping {dataset, split, options of `load`}."""
    if "dataset" not in settings:
        raise ValueError(f"{dict(settings)}: expected a mapping with a dataset's name under 'dataset'")
    options = dict(settings)
    return load(options.pop("dataset"), **options)


def load(name: str, root: str | Path | None = None, split: str = "val", **options: Any) -> Dataset:
    """Read a dataset of the registry from `root` (default: the data folder).

    options: those that its entry declares. Splits, options and extras are listed in data/README.md.
    Raises ValueError for an unknown name or split, or for inconsistent annotations; FileNotFoundError for missing data,
    saying how to get it; TypeError for an unknown option.
    """
    source = get_source(name)
    if split not in source.splits:
        raise ValueError(f"{name} has no split {split!r}; expected one of {', '.join(source.splits)}")
    check_options(name, source, options)
    folder = data_root() if root is None else Path(root)
    if any(not find_place(folder, *places) for places in source.required.values()):
        raise FileNotFoundError(describe_missing(name, root))
    found = {role: find_place(folder, *places) for role, places in {**source.required, **source.optional}.items()}
    places = {"root": folder} | {role: place for role, place in found.items() if place}
    dataset = source.read(name, split, places, **{**source.options, **options})
    if _is_changed(source, folder):
        dataset.source += UNVERIFIED
    whole = source.images.get(split, len(dataset))
    if len(dataset) < whole:
        dataset.info["whole"] = whole
        part = f"{len(dataset):,} of {whole:,} images"
        if len(dataset.classes) < (source.classes or 0):
            dataset.info["whole_classes"] = source.classes
            part += f", {len(dataset.classes):,} of {source.classes:,} classes"
        dataset.source = f"{part}: {dataset.source}"
    if not len(dataset) and source.required:
        raise FileNotFoundError(f"{name}: no images of split {split!r} in {places['root']}")
    return dataset
