"""Objects of three parts in a row, which tell their class, and what else lies about."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camlib.datasets.synthetic.drawing import (
    COLOURS,
    GREYS,
    SHAPES,
    Canvas,
    Picture,
    free_place,
    jitter,
    line,
    mask_box,
)


@dataclass
class Painted:
    """What a painter tells of its picture."""

    objects: list[list[int]]  # the owners of each boxed object
    masks: dict[str, list[int]] = field(default_factory=dict)  # further masks, as the owners they hold
    extras: dict[str, Any] = field(default_factory=dict)  # further facts about this picture


# 9 shapes and 8 colours have no common factor, so k -> (k mod 8, k mod 9) meets each of the 72 pairs once: slices are
# disjoint. Every colour and every shape occurs in several classes; only the two together tell.
_PAIRS = [(list(COLOURS)[k % 8], list(SHAPES)[k % 9]) for k in range(72)]
OBJECT_PAIRS, TRANSFER_PAIRS, _OTHER_PAIRS = _PAIRS[:36], _PAIRS[36:60], _PAIRS[60:]
_SHARED_PARTS = TRANSFER_PAIRS[:3]  # of all classes of `objects` where not each part tells; no distractor has them


def put_distractors(canvas: Canvas, low: int, high: int) -> None:
    """Shapes that tell nothing: grey ones, and pairs of colour and shape that no class has."""
    rng = canvas.rng
    for _ in range(rng.integers(low, high + 1)):
        colour, shape = _OTHER_PAIRS[rng.integers(12)]
        paint = COLOURS[colour]
        if rng.random() < 0.5:
            paint, shape = GREYS[rng.integers(4)], list(SHAPES)[rng.integers(9)]
        place, turn = rng.uniform(0.05, 0.95, 2), rng.uniform(0, 2 * np.pi)
        canvas.put([(SHAPES[shape], 0)], place, rng.uniform(0.04, 0.09), turn, [jitter(rng, paint)])


def _paint_row(
    canvas: Canvas, parts: list[tuple[str, str]], telling_parts: int = 3, clutter: int = 1, object_size: float = 1.0
) -> Painted:
    """One object, or in some images two of a class, among distractors; its first `telling_parts` parts tell."""
    rng = canvas.rng
    put_distractors(canvas, 2 * clutter, 5 * clutter)
    taken: list[Any] = []
    rod: Picture = [(line(-2, 0, 2, 0, 0.35), 3)]
    row: Picture = [(SHAPES[shape] + (2.1 * (k - 1), 0), k) for k, (_, shape) in enumerate(parts)]
    for _ in range(2 if rng.random() < 0.15 else 1):
        radius, turn = rng.uniform(0.068, 0.12) * (0.8 if taken else 1.0), rng.uniform(0, 2 * np.pi)
        radius *= object_size
        margin = (2.1 * np.abs([np.cos(turn), np.sin(turn)]) + 1.2) * radius
        place = free_place(rng, margin, 3.2 * radius, taken)
        if place is not None:
            palette = [*(jitter(rng, COLOURS[colour]) for colour, _ in parts), GREYS[rng.integers(4)]]
            for owner, part in zip((len(taken), *_own_parts(len(taken))), rod + row, strict=True):
                canvas.put([part], place, radius, turn, palette, owner)
    objects, owners = range(1, len(taken) + 1), canvas.owners()
    telling = [_own_parts(k)[:telling_parts] for k in objects]
    masks = {"telling": [owner for parts_of_one in telling for owner in parts_of_one]}
    masks |= {f"part {j + 1}": [_own_parts(k)[j] for k in objects] for j in range(3)}
    boxes = np.concatenate([mask_box(np.isin(owners, own)) for own in telling])
    return Painted([[k, *_own_parts(k)] for k in objects], masks, {"telling_boxes": boxes})


def _own_parts(owner: int) -> range:
    """Owners of the three parts of an object."""
    return range(100 + 3 * owner, 103 + 3 * owner)


def paint_objects(
    canvas: Canvas, label: int, telling_parts: int = 3, clutter: int = 1, object_size: float = 1.0
) -> Painted:
    own = OBJECT_PAIRS[3 * label : 3 * label + 3]
    parts = own[:telling_parts] + _SHARED_PARTS[telling_parts:]
    return _paint_row(canvas, parts, telling_parts, clutter, object_size)


def paint_transfer(canvas: Canvas, label: int) -> Painted:
    return _paint_row(canvas, TRANSFER_PAIRS[3 * label : 3 * label + 3])
