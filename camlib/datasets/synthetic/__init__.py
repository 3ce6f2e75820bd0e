"""The drawn data: small pictures from a seed, with exact boxes and masks; always there, nothing on disk.

    synthetic-objects, -transfer, -finegrained, -actions, -scenes, -concepts, -text

Image i depends on (variant, seed, size, i) only, so a larger n prolongs a dataset and never changes it. The variants
stand in for datasets of the paper; no result on them is the paper's.

The dials of synthetic-objects, options of `load`:
    telling_parts (3; 1 to 3): how many of an object's three parts tell its class; all classes share the other parts.
    clutter (1; 0 to 8): times the usual 2 to 5 distracting shapes.
    object_size (1.0; 0.25 to 1.25): times the usual size.
Another number of telling parts leaves everything else in a picture where it was.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from camlib.datasets.base import Dataset, Source
from camlib.datasets.synthetic.drawing import Canvas, mask_box, seen_mask
from camlib.datasets.synthetic.variants import VARIANTS


@dataclass
class Scenes:
    """Drawn pictures and all that is known about them.

    images (N, S, S, 3) uint8. labels (N,) int64. masks: name -> (N, S, S) bool.
    boxes: per image (Mi, 4) float64, half-open pixels, around what is seen of the objects that the label names.
    extras (per-image data) and info (facts about all pictures): see `draw`.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: list[str]
    boxes: list[np.ndarray]
    masks: dict[str, np.ndarray]
    extras: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


def draw(variant: str, n: int, seed: int = 0, size: int = 64, **dials: float) -> Scenes:
    """Draw `n` pictures of `size` px; labels are balanced (image i has class i mod C).

    dials: of the variant "objects", see above.
    masks: "object" always; "telling" and "part 1" to "part 3" (objects, transfer: the telling parts, and each of the
        three), "part" (finegrained), "person" (actions), "text" (text: the words' boards).
    extras, per image:
        objects, transfer: telling_boxes (Mi, 4), around what is seen of each object's telling parts.
        actions: person_boxes (1, 4).
        scenes: objects (name, box (4,), index into object_masks); object_masks (Mi, S, S) bool, what is seen of each.
            The boxes are those of the telling things.
        concepts: captions; phrase_masks (phrase -> (N, S, S)). text: words; word_boxes (Mi, 4).
    info, about all:
        objects, transfer: parts (class -> the (colour, shape) pairs that tell it).
        finegrained: patches (species -> its pair).
        actions: things (class -> thing). scenes: object_names, informative (class -> its telling things).
        concepts: phrases.
    Raises ValueError for an unknown variant, n < 0, size < 32, a negative seed, or a dial that the variant has not, or
    not so far.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
    if n < 0 or size < 32 or seed < 0:
        raise ValueError(f"n is {n}, size is {size}, seed is {seed}; expected n >= 0, size >= 32 and seed >= 0")
    chosen, number = VARIANTS[variant], list(VARIANTS).index(variant)
    for dial, value in dials.items():
        if dial not in chosen.dials:
            raise ValueError(f"{variant} has no dial {dial!r}; expected {', '.join(chosen.dials) or 'none'}")
        default, least, most = chosen.dials[dial]
        if not least <= value <= most or type(value) not in (int, type(default)):
            raise ValueError(f"{dial} is {value!r}; expected {type(default).__name__}, {least} to {most}")
    labels = np.arange(n, dtype=np.int64) % len(chosen.class_names)
    images = np.zeros((n, size, size, 3), np.uint8)
    boxes: list[np.ndarray] = []
    masks = {"object": np.zeros((n, size, size), bool)}
    extras: dict[str, Any] = {}
    for i in range(n):
        canvas = Canvas(np.random.default_rng([seed, number, i]), size)
        painted = chosen.paint(canvas, int(labels[i]), **dials)
        images[i], owners = canvas.image(), canvas.owners()
        boxes.append(np.concatenate([np.zeros((0, 4)), *(mask_box(seen_mask(owners, ids)) for ids in painted.objects)]))
        for name, ids in {"object": [k for owned in painted.objects for k in owned], **painted.masks}.items():
            masks.setdefault(name, np.zeros((n, size, size), bool))[i] = seen_mask(owners, ids)
        for name, value in painted.extras.items():
            extras.setdefault(name, []).append(value)
    if variant == "concepts":
        extras["phrase_masks"] = {phrase: masks.pop(phrase) for phrase in chosen.info["phrases"]}
    if variant == "text":
        extras["word_boxes"] = boxes
    info = dict(chosen.info)
    if "telling_parts" in dials:
        info["parts"] = {name: pairs[: int(dials["telling_parts"])] for name, pairs in info["parts"].items()}
    return Scenes(images, labels, list(chosen.class_names), boxes, masks, extras, info)


@functools.lru_cache(maxsize=4)
def _draw_once(variant: str, n: int, seed: int, size: int, **dials: float) -> Scenes:
    """Pictures drawn once per process: several networks of a notebook ask for the same ones."""
    return draw(variant, n, seed=seed, size=size, **dials)


def read(
    name: str, split: str, places: Mapping[str, Path], *, n: int | None, seed: int, size: int, **dials: float
) -> Dataset:
    """n pictures (3,000 to train, 1,000 otherwise) of `size` px. No two pairs of (seed, split) share a picture."""
    n = (3000 if split == "train" else 1000) if n is None else n
    drawn_from = 3 * seed + ("train", "val", "test").index(split)
    scenes = _draw_once(name.removeprefix("synthetic-"), n, drawn_from, size, **dials)
    names = list(scenes.class_names)
    ids = [f"{drawn_from}-{i:05d}" for i in range(n)]
    return Dataset(
        name, split, ids, scenes.labels, names, names, scenes.boxes, np.full((n, 2), size), f"synthetic (seed {seed})",
        synthetic=True, extras=scenes.extras | {"masks": scenes.masks}, info=scenes.info, images=scenes.images,
    )  # fmt: skip


_DRAWN = Source(
    read,
    ("train", "val", "test"),
    "MIT",
    get="drawn from a seed, always there",
    options={"n": None, "seed": 0, "size": 64},
)
SOURCES = {
    f"synthetic-{variant}": replace(
        _DRAWN, options={**_DRAWN.options, **{dial: default for dial, (default, *_) in about.dials.items()}}
    )
    for variant, about in VARIANTS.items()
}
for _name in ("synthetic-transfer", "synthetic-finegrained"):
    SOURCES[_name] = replace(SOURCES[_name], protocol="draws")
