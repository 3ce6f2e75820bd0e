"""The embedded data: small pictures drawn from a seed (Pillow + numpy), with exact boxes and masks.

Everything is a polygon in fractions of the image, filled on a canvas of three times the size and reduced; an owner map filled beside the
picture gives the masks (the owner at a pixel's centre) and the masks give the boxes. Image `i` depends on (seed, variant, i) only, so
a larger `n` prolongs a data set and never changes it. The variants stand in for the data of the paper; none of their results is the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Polygon = np.ndarray  # (P, 2) float, x to the right, y down
RGB = tuple[int, ...]
SUPER = 3  # odd, so that every pixel has a centre sample


@dataclass
class Scenes:
    """`n` drawn pictures and all that is known about them.

    images (N, S, S, 3) uint8; labels (N,) int64; boxes one (Mi, 4) float64 per image, half-open pixels; masks name -> (N, S, S) bool.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: list[str]
    boxes: list[np.ndarray]
    masks: dict[str, np.ndarray]
    extras: dict[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------- polygons, in a frame of about [-1, 1]
def _ngon(
    n: int, radius: float = 1.0, cx: float = 0.0, cy: float = 0.0, turn: float = -0.25, ry: float | None = None
) -> Polygon:
    angle = 2 * np.pi * (np.arange(n) / n + turn)
    return np.stack([cx + radius * np.cos(angle), cy + (radius if ry is None else ry) * np.sin(angle)], 1)


def _disc(cx: float = 0.0, cy: float = 0.0, radius: float = 1.0, ry: float | None = None) -> Polygon:
    return _ngon(20, radius, cx, cy, ry=ry)


def _ring(cx: float = 0.0, cy: float = 0.0, radius: float = 1.0, inner: float = 0.55) -> Polygon:
    outer, hole = _ngon(20, radius, cx, cy), _ngon(20, radius * inner, cx, cy)
    return np.concatenate(
        [outer, outer[:1], hole[:1], hole[::-1]]
    )  # a slit joins the two, the even-odd fill leaves the hole


def _box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _line(x0: float, y0: float, x1: float, y1: float, width: float) -> Polygon:
    ahead = np.array([x1 - x0, y1 - y0])
    side = np.array([-ahead[1], ahead[0]]) / max(float(np.hypot(*ahead)), 1e-9) * width / 2
    start, end = np.array([x0, y0]), np.array([x1, y1])
    return np.stack([start + side, end + side, end - side, start - side])


def _star(n: int, inner: float) -> Polygon:
    radius = np.where(np.arange(2 * n) % 2, inner, 1.0)[:, None]
    return _ngon(2 * n) * radius


def _crescent() -> Polygon:
    angle = np.linspace(0.3 * np.pi, 1.7 * np.pi, 16)
    outer = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([outer, (outer[::-1] * 0.85) + (0.42, 0.0)])


_CROSS = (
    np.array(
        [(-3, -1), (-1, -1), (-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1)]
    )
    / 3.0
)
SHAPES: dict[str, Polygon] = {
    "disc": _disc(radius=0.92),
    "cross": _CROSS * 1.05,
    "triangle": _ngon(3, 1.15, cy=0.15),
    "ring": _ring(),
    "star": _star(5, 0.42) * 1.12,
    "bow": np.array([(-1, -0.85), (0, -0.2), (1, -0.85), (1, 0.85), (0, 0.2), (-1, 0.85)]),
    "square": _box(-0.85, -0.85, 0.85, 0.85),
    "crescent": _crescent(),
    "bolt": np.array([(-1, -1), (-0.3, -1), (-0.3, 0.3), (1, 0.3), (1, 1), (-1, 1)]) * 0.95,
}
COLOURS: dict[str, RGB] = {
    "red": (205, 40, 40),
    "orange": (240, 135, 25),
    "yellow": (240, 225, 60),
    "green": (45, 150, 60),
    "cyan": (80, 215, 220),
    "blue": (45, 75, 205),
    "purple": (135, 45, 165),
    "pink": (250, 160, 200),
}
GREYS: tuple[RGB, ...] = ((30, 30, 30), (90, 90, 90), (150, 150, 150), (225, 225, 225))
# 9 and 8 have no common factor, so k -> (k mod 9, k mod 8) runs through all 72 pairs once: any slice of it is disjoint from any other.
_PAIRS = [(list(COLOURS)[k % 8], list(SHAPES)[k % 9]) for k in range(72)]
_OBJECT_PAIRS, _TRANSFER_PAIRS, _OTHER_PAIRS = _PAIRS[:36], _PAIRS[36:60], _PAIRS[60:]


class Canvas:
    """A picture under way: `paint` fills polygons, later over earlier; `owners` says what is seen at each pixel (0 = background)."""

    def __init__(self, rng: np.random.Generator, size: int, cells: int = 6, contrast: float = 38.0) -> None:
        self.rng, self.size = rng, size
        side = size * SUPER
        noise = rng.normal(rng.uniform(95, 165, 3), contrast, (cells, cells, 3)).clip(0, 255).astype(np.uint8)
        self._image = Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)
        self._ids = Image.new("L", (side, side))
        self._draw, self._mark = ImageDraw.Draw(self._image), ImageDraw.Draw(self._ids)

    def paint(self, polygon: Polygon, colour: Sequence[float], owner: int = 0) -> None:
        """Fill a polygon given in fractions of the image."""
        points = (polygon * (self.size * SUPER) - 0.5).ravel().tolist()
        self._draw.polygon(points, fill=(int(colour[0]), int(colour[1]), int(colour[2])))
        self._mark.polygon(points, fill=owner)

    def put(
        self,
        polygon: Polygon,
        centre: Sequence[float],
        scale: float,
        turn: float,
        colour: Sequence[float],
        owner: int = 0,
    ) -> None:
        """Fill a polygon of the [-1, 1] frame, scaled, turned (radians) and moved to `centre`."""
        self.paint(_moved(polygon, centre, scale, turn), colour, owner)

    def image(self) -> np.ndarray:
        return np.asarray(self._image.reduce(SUPER))

    def owners(self) -> np.ndarray:
        return np.asarray(self._ids)[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER]  # (S, S) uint8


def _moved(polygon: Polygon, centre: Sequence[float], scale: float, turn: float) -> Polygon:
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    return polygon @ np.array([(cos, sin), (-sin, cos)]) + centre


def _jitter(rng: np.random.Generator, colour: RGB, spread: float = 12.0) -> np.ndarray:
    return (np.array(colour) * rng.uniform(0.88, 1.1) + rng.normal(0, spread, 3)).clip(0, 255)


def mask_box(mask: np.ndarray) -> np.ndarray:
    """The smallest half-open box (x0, y0, x1, y1) around a bool mask (S, S); shape (0, 4) when the mask is empty, else (1, 4)."""
    xs, ys = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(xs):
        return np.zeros((0, 4))
    return np.array([[xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]], dtype=np.float64)


@dataclass
class _Painted:
    objects: list[int]  # owners that get a box each
    masks: dict[str, list[int]] = field(default_factory=dict)  # further masks, as the owners they hold
    extras: dict[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------- objects and transfer
def _distractors(canvas: Canvas, low: int, high: int, radius: tuple[float, float] = (0.04, 0.09)) -> None:
    """Shapes that tell nothing: grey ones, and colour and shape pairs that no class owns."""
    rng = canvas.rng
    for _ in range(rng.integers(low, high + 1)):
        colour_name, shape = _OTHER_PAIRS[rng.integers(len(_OTHER_PAIRS))]
        colour = _jitter(rng, COLOURS[colour_name])
        if rng.random() < 0.5:
            colour, shape = _jitter(rng, GREYS[rng.integers(4)]), list(SHAPES)[rng.integers(9)]
        canvas.put(SHAPES[shape], rng.uniform(0.05, 0.95, 2), rng.uniform(*radius), rng.uniform(0, 2 * np.pi), colour)


def _row_object(
    canvas: Canvas, parts: list[tuple[str, str]], taken: list[tuple[np.ndarray, float]], owner: int
) -> bool:
    """One object: parts in a row on a rod, at a random place, scale and rotation; False when no free place was found."""
    rng = canvas.rng
    step = 2.1
    for _ in range(20):
        radius, turn = rng.uniform(0.068, 0.12) * (0.8 if taken else 1.0), rng.uniform(0, 2 * np.pi)
        along = np.array([np.cos(turn), np.sin(turn)])
        margin = np.abs(along) * step * radius + 1.1 * radius + 0.01
        centre = rng.uniform(margin, 1 - margin)
        reach = (step + 1.1) * radius
        if all(np.hypot(*(centre - other)) > reach + far for other, far in taken):
            break
    else:
        return False
    taken.append((centre, reach))
    canvas.put(_line(-step, 0, step, 0, 0.35), centre, radius, turn, GREYS[rng.integers(4)], owner)
    for k, (colour, shape) in enumerate(parts):
        place = centre + along * step * radius * (k - 1)
        canvas.put(SHAPES[shape], place, radius, turn, _jitter(rng, COLOURS[colour]), owner)
    return True


def _paint_row(canvas: Canvas, parts: list[tuple[str, str]]) -> _Painted:
    _distractors(canvas, 2, 5)
    taken: list[tuple[np.ndarray, float]] = []
    _row_object(canvas, parts, taken, 1)
    two = canvas.rng.random() < 0.15 and _row_object(canvas, parts, taken, 2)
    return _Painted([1, 2] if two else [1])


def _paint_objects(canvas: Canvas, label: int) -> _Painted:
    return _paint_row(canvas, _OBJECT_PAIRS[3 * label : 3 * label + 3])


def _paint_transfer(canvas: Canvas, label: int) -> _Painted:
    return _paint_row(canvas, _TRANSFER_PAIRS[3 * label : 3 * label + 3])


@dataclass(frozen=True)
class _Variant:
    paint: Callable[[Canvas, int], _Painted]
    class_names: list[str]
    constants: dict[str, Any] = field(default_factory=dict)  # extras that are the same for every image


def _row_variant(paint: Callable[[Canvas, int], _Painted], names: str, pairs: list[tuple[str, str]]) -> _Variant:
    listed = names.split()
    return _Variant(paint, listed, {"parts": {name: pairs[3 * k : 3 * k + 3] for k, name in enumerate(listed)}})


_VARIANTS: dict[str, _Variant] = {  # the order numbers them: append, never insert
    "objects": _row_variant(_paint_objects, "blick dax fep gorp kiki lorp mip nark pim toma wug zav", _OBJECT_PAIRS),
    "transfer": _row_variant(_paint_transfer, "bouba crell dov hask jub quil slen vorn", _TRANSFER_PAIRS),
}
VARIANTS = tuple(_VARIANTS)


def draw(variant: str, n: int, seed: int = 0, size: int = 64) -> Scenes:
    """Draw `n` pictures of a variant.

    Labels are balanced (image i has class i mod C); image i of (variant, seed, size) is the same whatever `n` is.
    `ValueError` for an unknown variant, a negative n or seed.
    """
    if variant not in _VARIANTS:
        raise ValueError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    if n < 0 or seed < 0:
        raise ValueError(f"n and seed must not be negative, got n={n}, seed={seed}")
    chosen, number = _VARIANTS[variant], VARIANTS.index(variant)
    labels = np.arange(n, dtype=np.int64) % len(chosen.class_names)
    images = np.zeros((n, size, size, 3), np.uint8)
    boxes: list[np.ndarray] = []
    masks: dict[str, np.ndarray] = {"object": np.zeros((n, size, size), bool)}
    extras: dict[str, Any] = {}
    for i in range(n):
        canvas = Canvas(np.random.default_rng([seed, number, i]), size)
        painted = chosen.paint(canvas, int(labels[i]))
        images[i] = canvas.image()
        owners = canvas.owners()
        found = [mask_box(owners == owner) for owner in painted.objects]
        boxes.append(np.concatenate(found) if found else np.zeros((0, 4)))
        for name, ids in {"object": painted.objects, **painted.masks}.items():
            seen = np.zeros(256, bool)
            seen[ids] = True
            masks.setdefault(name, np.zeros((n, size, size), bool))[i] = seen[owners]
        for name, value in painted.extras.items():
            extras.setdefault(name, []).append(value)
    return Scenes(images, labels, list(chosen.class_names), boxes, masks, {**chosen.constants, **extras})
