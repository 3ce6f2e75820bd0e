"""Drawing for the embedded data: shapes, pictures of things, and a canvas that knows who owns each pixel.

Everything is a polygon in fractions of the image, filled on a canvas of three times the size and then reduced; an owner
map filled beside the picture gives exact masks (the owner seen at a pixel's centre), and masks give boxes.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Polygon = np.ndarray  # (P, 2) float, x to the right, y down; shapes fill about [-1, 1]
Picture = list[tuple[Polygon, int]]  # painted in this order, each in a slot of the palette
Point = Sequence[float] | np.ndarray  # (2,), in fractions of the image
Colour = Sequence[float] | np.ndarray  # (3,), RGB in 0..255
Palette = list[Any]  # slot -> Colour, or None: left as it is and only claimed by the owner
SUPER = 3  # odd, so that every pixel has a centre sample


def disc(cx: float = 0, cy: float = 0, radius: float = 1, ry: float | None = None, n: int = 20) -> Polygon:
    """A regular n-gon, by default with enough corners to look round; `ry` makes it an ellipse."""
    angle = 2 * np.pi * (np.arange(n) / n - 0.25)  # the first corner on top
    return np.stack([cx + radius * np.cos(angle), cy + (radius if ry is None else ry) * np.sin(angle)], 1)


def ring(cx: float = 0, cy: float = 0, radius: float = 1, inner: float = 0.55) -> Polygon:
    """A disc of `radius` without the disc of radius `inner`."""
    outer, hole = disc(cx, cy, radius), disc(cx, cy, inner)
    # joined by a slit; the even-odd fill leaves the hole
    return np.concatenate([outer, outer[:1], hole[:1], hole[::-1]])


def box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """An upright rectangle from its corners."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def line(x0: float, y0: float, x1: float, y1: float, width: float) -> Polygon:
    """A straight stroke, its ends cut square."""
    side = np.array([y0 - y1, x1 - x0]) / max(np.hypot(x1 - x0, y1 - y0), 1e-9) * width / 2
    return np.array([(x0, y0), (x1, y1), (x1, y1), (x0, y0)]) + np.outer([1, 1, -1, -1], side)


def poly(*xy: float) -> Polygon:
    """A polygon from x0, y0, x1, y1, ..."""
    return np.array(xy, dtype=float).reshape(-1, 2)


def _crescent() -> Polygon:
    angle = np.linspace(0.3, 1.7, 16)[:, None] * np.pi
    outer = np.concatenate([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([outer, outer[::-1] * 0.85 + (0.42, 0.0)])


SHAPES: dict[str, Polygon] = {
    "disc": disc(radius=0.92),
    "cross": poly(-3, -1, -1, -1, -1, -3, 1, -3, 1, -1, 3, -1, 3, 1, 1, 1, 1, 3, -1, 3, -1, 1, -3, 1) * 0.35,
    "triangle": disc(0, 0.15, 1.15, n=3),
    "ring": ring(),
    "star": disc(n=10) * np.where(np.arange(10) % 2, 0.47, 1.12)[:, None],
    "bow": poly(-1, -0.85, 0, -0.2, 1, -0.85, 1, 0.85, 0, 0.2, -1, 0.85),
    "square": box(-0.85, -0.85, 0.85, 0.85),
    "crescent": _crescent(),
    "angle": poly(-1, -1, -0.3, -1, -0.3, 0.3, 1, 0.3, 1, 1, -1, 1) * 0.95,
}
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 40, 40),
    "orange": (240, 135, 25),
    "yellow": (240, 225, 60),
    "green": (45, 150, 60),
    "cyan": (80, 215, 220),
    "blue": (45, 75, 205),
    "purple": (135, 45, 165),
    "pink": (250, 160, 200),
}
GREYS = ((30, 30, 30), (90, 90, 90), (150, 150, 150), (230, 230, 230))
SKINS = ((250, 215, 185), (225, 175, 130), (165, 110, 75), (95, 60, 40))
_PRIMITIVES: dict[str, Callable[..., Polygon]] = {
    "disc": disc,
    "ring": ring,
    "box": box,
    "line": line,
    "poly": poly,
}
# name: slot primitive numbers, slot primitive numbers, ... (slots as in random_palette; y = 1 is the ground)
_TABLE = """
bird: 2 line -.1 .5 -.15 1 .1, 2 line .2 .5 .2 1 .1, 1 poly -.6 -.05 -1.35 -.3 -1.3 .15 -.6 .3, 0 disc 0 .1 .85 .55,
  0 disc .75 -.5 .4, 6 poly 1.08 -.62 1.5 -.42 1.08 -.34, 2 disc .83 -.58 .1, 1 disc -.1 .08 .56 .42
guitar: 2 line 0 0 .35 -1.2 .2, 2 box .2 -1.4 .55 -1.05, 0 disc -.12 .55 .55, 0 disc .03 -.08 .4, 2 disc -.02 .25 .2,
  3 line -.4 .75 .1 .85 .14
bicycle: 2 ring -.75 .35 .6 .42, 2 ring .75 .35 .6 .42, 0 line -.75 .35 -.3 -.35 .16, 0 line -.3 -.35 .5 -.35 .16,
  0 line .45 -.6 .75 .35 .16, 0 line -.3 -.4 0 .35 .16, 0 line 0 .35 .5 -.35 .16, 2 line .2 -.6 .7 -.6 .16,
  2 line -.5 -.45 -.1 -.45 .18
cup: 0 ring .62 0 .5 .3, 0 poly -.8 -.75 .6 -.75 .45 .8 -.65 .8, 3 disc -.1 -.75 .7 .2, 2 disc -.1 -.74 .55 .12
umbrella: 2 line 0 -.6 0 1.1 .12, 2 line 0 1.1 .35 .95 .12,
  0 poly -1.1 0 -.95 -.5 -.6 -.9 0 -1.1 .6 -.9 .95 -.5 1.1 0 .55 -.15 0 0 -.55 -.15, 3 poly 0 -1.1 .35 -.1 0 0 -.35 -.1
ball: 3 disc 0 0 .85, 2 disc 0 0 .3, 0 disc 0 -.62 .2, 0 disc .59 -.19 .2, 0 disc .36 .5 .2, 0 disc -.36 .5 .2,
  0 disc -.59 -.19 .2
book: 0 poly 0 -.45 -1.1 -.8 -1.1 .65 0 1 1.1 .65 1.1 -.8, 3 poly 0 -.4 -.95 -.7 -.95 .5 0 .8 .95 .5 .95 -.7,
  0 line 0 -.4 0 .9 .12, 2 line -.2 -.15 -.8 -.35 .1, 2 line -.2 .15 -.8 -.05 .1, 2 line -.2 .45 -.8 .25 .1,
  2 line .2 -.15 .8 -.35 .1, 2 line .2 .15 .8 -.05 .1, 2 line .2 .45 .8 .25 .1
ladder: 0 line -.45 -1.3 -.45 1.3 .18, 0 line .45 -1.3 .45 1.3 .18, 0 line -.45 -1 .45 -1 .16,
  0 line -.45 -.5 .45 -.5 .16, 0 line -.45 0 .45 0 .16, 0 line -.45 .5 .45 .5 .16, 0 line -.45 1 .45 1 .16
kite: 2 line 0 .8 .35 1.6 .08, 0 poly 0 -1.1 .7 -.2 0 .9 -.7 -.2, 1 poly 0 -1.1 .7 -.2 0 -.2, 1 poly 0 .9 -.7 -.2 0 -.2,
  1 poly 0 1 .2 1.2 .4 1 .4 1.4 .2 1.2 0 1.4, 1 poly .2 1.4 .4 1.6 .6 1.4 .6 1.8 .4 1.6 .2 1.8
bush: 5 disc -.5 .2 .5, 5 disc .5 .2 .5, 5 disc 0 -.25 .6
rock: 7 poly -1 .6 -.7 -.3 0 -.6 .8 -.2 1 .6
crate: 6 box -.8 -.7 .8 .7, 2 box -.8 -.15 .8 .05
tree: 6 line 0 -.2 0 1.1 .2, 5 poly 0 -1.2 .8 .3 -.8 .3
stove: 3 box -.8 -.6 .8 1, 2 box -.5 .1 .5 .8, 2 disc -.5 -.3 .15, 2 disc 0 -.3 .15, 2 disc .5 -.3 .15
fridge: 3 box -.6 -1.4 .6 1, 2 box -.6 -.55 .6 -.4, 2 box .25 -.25 .4 .4, 2 box .25 -1.1 .4 -.7
pot: 0 box -.7 0 .7 1, 2 box -1 .15 1 .35, 2 box -.8 -.15 .8 0, 2 disc 0 -.25 .16
bathtub: 3 poly -1.4 0 1.4 0 1.1 1 -1.1 1, 4 disc 0 0 1.2 .2, 2 line 1 0 1 -.7 .15, 2 line 1.05 -.65 .6 -.65 .15
toilet: 3 box -.8 -.9 -.3 .5, 3 disc .2 .1 .65 .35, 0 disc .2 .02 .5 .2, 3 box -.2 .3 .4 1
towel: 2 line -.9 -.8 .9 -.8 .15, 0 box -.6 -.8 .6 .9, 3 box -.6 .25 .6 .45, 3 box -.6 .6 .6 .7
bed: 6 box -1.5 -.6 -1.3 1, 6 box 1.3 0 1.5 1, 0 box -1.3 .1 1.3 .75, 3 disc -.9 0 .4 .25
wardrobe: 6 box -.9 -1.3 .9 1, 2 box -.05 -1.2 .05 .9, 2 disc -.25 -.1 .13, 2 disc .25 -.1 .13
clock: 0 disc -.45 -.5 .28, 0 disc .45 -.5 .28, 0 disc 0 .25 .75, 3 disc 0 .25 .55, 2 line 0 .3 0 -.2 .14,
  2 line 0 .25 .35 .4 .14
desk: 6 box -1.4 0 1.4 .3, 6 box .5 .3 1.3 1, 6 box -1.3 .3 -1.1 1, 2 box .75 .55 1.05 .7
monitor: 2 box -1 -.8 1 .5, 4 box -.85 -.65 .85 .35, 2 box -.15 .5 .15 .85, 2 box -.5 .85 .5 1
shelf: 6 box -.9 -1.3 .9 1, 0 box -.75 -1.15 -.45 -.6, 3 box -.35 -1.15 -.1 -.6, 1 box .1 -1.15 .5 -.6,
  1 box -.6 -.45 -.2 .15, 0 box 0 -.45 .25 .15, 3 box .4 -.45 .7 .15, 3 box -.75 .3 -.4 .85, 1 box -.2 .3 .1 .85
sofa: 0 box -1.3 -.5 1.3 .8, 0 box -1.6 -.1 -1.2 1, 0 box 1.2 -.1 1.6 1, 2 box -1.2 .2 1.2 .32, 2 box -.05 -.5 .05 .2
television: 2 box -1.2 -.9 1.2 .6, 3 box -1.05 -.75 .6 .45, 1 disc .85 -.4 .16, 1 disc .85 .1 .16,
  2 line -.6 .6 -.8 1 .15, 2 line .6 .6 .8 1 .15
plant: 1 poly -.5 .3 .5 .3 .35 1 -.35 1, 5 line 0 .3 -.8 -.6 .3, 5 line 0 .3 -.3 -1.1 .3, 5 line 0 .3 .3 -1.1 .3,
  5 line 0 .3 .8 -.6 .3
table: 0 box -1.4 -.4 1.4 -.1, 0 box -1.2 -.1 -1 1, 0 box 1 -.1 1.2 1, 3 disc -.6 -.5 .35 .15, 3 disc .6 -.5 .35 .15
chair: 0 box -.6 -1.3 -.35 1, 0 box -.6 0 .6 .25, 0 box .4 .25 .6 1, 1 box -.35 -1.1 -.2 0, 2 line -.5 .65 .5 .65 .12
mirror: 6 disc 0 0 .8 1.25, 4 disc 0 0 .62 1.05, 3 line -.3 .2 .2 -.5 .14
coat: 2 line 0 -1.3 0 -.9 .15, 0 poly -.35 -.9 .35 -.9 .9 .1 .6 .3 .5 0 .6 1 -.6 1 -.5 0 -.6 .3 -.9 .1,
  1 box -.05 -.7 .05 1, 1 disc .2 -.1 .1, 1 disc .2 .4 .1
window: 3 box -1.3 -1.2 1.3 1.2, 4 box -1.1 -1 -.1 -.1, 4 box .1 -1 1.1 -.1, 4 box -1.1 .1 -.1 1, 4 box .1 .1 1.1 1
lamp: 2 line 0 -3 0 -.4 .15, 0 poly -.4 -.5 .4 -.5 1 .5 -1 .5, 3 disc 0 .55 .35
picture: 6 box -1 -.8 1 .8, 0 box -.8 -.6 .8 .6, 1 disc .1 0 .35
"""


def _read_pictures(table: str) -> dict[str, Picture]:
    pictures: dict[str, Picture] = {}
    for entry in table.replace("\n ", " ").strip().splitlines():
        name, text = entry.split(":")
        words = [piece.split() for piece in text.split(",")]
        pictures[name] = [(_PRIMITIVES[kind](*map(float, numbers)), int(slot)) for slot, kind, *numbers in words]
    return pictures


PICTURES = _read_pictures(_TABLE)


def random_palette(rng: np.random.Generator) -> Palette:
    """Slots of the pictures: two random colours (0, 1), dark 2, light 3, sky 4, leaves 5, wood 6, skin or stone 7."""
    fixed = [GREYS[0], GREYS[3], (150, 205, 245), (60, 140, 60), (130, 85, 45)]
    return [any_colour(rng), any_colour(rng), *fixed, jitter(rng, SKINS[rng.integers(4)], 4)]


def jitter(rng: np.random.Generator, colour: Colour, spread: float = 12.0) -> np.ndarray:
    """The colour a little brighter or darker, and off by a normal `spread` in each channel."""
    return (np.array(colour) * rng.uniform(0.88, 1.1) + rng.normal(0, spread, 3)).clip(0, 255)


def any_colour(rng: np.random.Generator) -> np.ndarray:
    """One of COLOURS, jittered."""
    return jitter(rng, list(COLOURS.values())[rng.integers(8)])


def _affine(scale: float, turn: float, flip: bool) -> np.ndarray:
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    return np.array([(-cos, -sin) if flip else (cos, sin), (-sin, cos)])


def draw_person(rng: np.random.Generator) -> Picture:
    """A figure in a random pose, about 1.6 wide and 2.7 high."""
    picture: Picture = []
    for side in (-1, 1):
        picture.append((line(0.14 * side, 0.35, side * rng.uniform(0.17, 0.55), 1.3, 0.28), 1))
        elbow = (side * rng.uniform(0.45, 0.6), rng.uniform(-0.45, 0.1))
        hand = (side * rng.uniform(0.45, 0.85), rng.uniform(-0.7, 0.3))
        picture += [(line(0.25 * side, -0.55, *elbow, 0.22), 0), (line(*elbow, *hand, 0.18), 7)]
    return [*picture, (box(-0.34, -0.68, 0.34, 0.45), 0), (disc(0, -1.06, 0.38), 2), (disc(0, -0.97, 0.31), 7)]


class Canvas:
    """A picture under way: later polygons cover earlier ones, in the owner map (0 = background) too."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.side = rng, size * SUPER
        blurred = rng.normal(rng.uniform(95, 165, 3), 30, (5, 5, 3)).clip(0, 255).astype(np.uint8)
        self._image = Image.fromarray(blurred).resize((self.side, self.side), Image.Resampling.BICUBIC)
        self._owners = Image.new("L", (self.side, self.side))
        self._fill, self._mark = ImageDraw.Draw(self._image), ImageDraw.Draw(self._owners)

    def put(
        self,
        picture: Picture,
        centre: Point,
        scale: float,
        turn: float,
        palette: Palette,
        owner: int = 0,
        flip: bool = False,
    ) -> None:
        """Paint a picture mirrored, scaled, turned (radians, clockwise) and moved, in fractions of the image."""
        matrix, shift = _affine(scale * self.side, turn, flip), np.asarray(centre) * self.side - 0.5
        for polygon, slot in picture:
            points = (polygon @ matrix + shift).ravel().tolist()
            if palette[slot] is not None:
                self._fill.polygon(points, fill=tuple(map(int, palette[slot])))
            self._mark.polygon(points, fill=owner)

    def write(self, word: str, centre: Point, pixels: int, turn: float, colour: Colour) -> None:
        """Print a word in Pillow's own font (`pixels` of the canvas high); the owner map is left alone."""
        left, top, right, bottom = text_bounds(word, pixels)
        ink = Image.new("L", (right - left + 4, bottom - top + 4))
        ImageDraw.Draw(ink).text((2 - left, 2 - top), word, fill=255, font=_font(pixels))
        ink = ink.rotate(-float(np.degrees(turn)), Image.Resampling.BICUBIC, expand=True)
        corner = (int(centre[0] * self.side - ink.width / 2), int(centre[1] * self.side - ink.height / 2))
        self._image.paste(tuple(map(int, colour)), corner, ink)

    def image(self) -> np.ndarray:
        """The picture (S, S, 3) uint8: the mean of SUPER x SUPER samples a pixel."""
        return np.asarray(self._image.reduce(SUPER))

    def owners(self) -> np.ndarray:
        """Who is seen at the centre of each pixel, (S, S) uint8."""
        return np.asarray(self._owners)[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER]


@lru_cache(maxsize=64)
def _font(pixels: int) -> Any:
    return ImageFont.load_default(pixels)


def text_bounds(word: str, pixels: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the ink that `Canvas.write` puts down, before it is turned."""
    left, top, right, bottom = _font(pixels).getbbox(word)
    return int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))


def mask_box(mask: np.ndarray) -> np.ndarray:
    """The smallest half-open box around a bool mask (S, S): float64 (1, 4), or (0, 4) where the mask is empty."""
    xs, ys = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    corners = [(xs[0], ys[0], xs[-1] + 1, ys[-1] + 1)] if len(xs) else []
    return np.array(corners, dtype=np.float64).reshape(-1, 4)


def seen_mask(owners: np.ndarray, ids: list[int]) -> np.ndarray:
    """Where any of these owners is seen, (S, S) bool."""
    chosen = np.zeros(256, bool)
    chosen[ids] = True
    return chosen[owners]


def free_place(rng: np.random.Generator, margin: Any, reach: float, taken: list[Any]) -> np.ndarray | None:
    """A random place `margin` or more from the border whose circle of radius `reach` is free; it is then taken."""
    for _ in range(25):
        place = rng.uniform(margin, 1 - np.asarray(margin), 2)
        if all(np.hypot(*(place - other)) > reach + far for other, far in taken):
            taken.append((place, reach))
            return place
    return None
