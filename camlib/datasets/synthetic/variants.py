"""What the drawn datasets show: one painter per variant, each given a canvas and a label."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camlib.datasets.synthetic.drawing import (
    COLOURS,
    GREYS,
    PICTURES,
    SHAPES,
    SKINS,
    Canvas,
    Picture,
    any_colour,
    box,
    draw_person,
    free_place,
    jitter,
    line,
    mask_box,
    random_palette,
    text_bounds,
)
from camlib.datasets.synthetic.rows import (
    OBJECT_PAIRS,
    TRANSFER_PAIRS,
    Painted,
    paint_objects,
    paint_transfer,
    put_distractors,
)

# ------------------------------------------------- finegrained: one bird, told apart by the patch on its wing
_SPECIES_NAMES = ["amber", "brindle", "coral", "dusk", "elder", "fern", "garnet", "heath"]
_SPECIES = dict(zip(_SPECIES_NAMES, OBJECT_PAIRS[::4][:8], strict=True))


def _paint_finegrained(canvas: Canvas, label: int) -> Painted:
    rng = canvas.rng
    put_distractors(canvas, 3, 6)
    scale, turn, flip = rng.uniform(0.14, 0.19), rng.uniform(-0.4, 0.4), rng.random() < 0.5
    place = rng.uniform(1.6 * scale, 1 - 1.6 * scale, 2)
    plumage = random_palette(rng)
    plumage[:2] = [jitter(rng, (*GREYS, *SKINS)[rng.integers(8)], 6) for _ in range(2)]  # so that every patch is seen
    canvas.put(PICTURES["bird"], place, scale, turn, plumage, 1, flip)
    colour, shape = list(_SPECIES.values())[label]
    patch = [(SHAPES[shape] * 0.36 + (-0.1, 0.08), 0)]
    canvas.put(patch, place, scale, turn, [jitter(rng, COLOURS[colour])], 2, flip)
    return Painted([[1, 2]], {"part": [2]})


# ------------------------------------------------- actions: a person, and the thing that tells what is being done
_ACTIONS = {
    "climbing ladder": "ladder",
    "drinking": "cup",
    "flying kite": "kite",
    "holding umbrella": "umbrella",
    "playing ball": "ball",
    "playing guitar": "guitar",
    "reading": "book",
    "riding bicycle": "bicycle",
}
_CLUTTER = ["bush", "rock", "crate", "tree"]


def _own_paint(rng: np.random.Generator, k: int) -> list[Any]:
    """The palette of the k-th thing: its colours are its own, yet worn by people and by other things too."""
    colours = list(COLOURS.values())
    return [jitter(rng, colours[k % 8]), jitter(rng, colours[(3 * k + 1) % 8]), *random_palette(rng)[2:]]


def _paint_actions(canvas: Canvas, label: int) -> Painted:
    rng = canvas.rng
    for _ in range(rng.integers(1, 5)):
        place, scale = rng.uniform(0.05, 0.95, 2), rng.uniform(0.06, 0.13)
        picture = PICTURES[_CLUTTER[rng.integers(4)]]
        canvas.put(picture, place, scale, rng.uniform(-0.3, 0.3), [*random_palette(rng)[:7], jitter(rng, GREYS[2])])
    scale, reach, left = rng.uniform(0.17, 0.23), rng.uniform(0.11, 0.15), rng.random() < 0.5
    apart = 0.55 * scale + 0.9 * reach
    x, y = rng.uniform(0.8 * scale, 1 - apart - 1.3 * reach), rng.uniform(1.45 * scale, 1 - 1.35 * scale)
    beside = float(np.clip(y + scale * rng.uniform(-0.7, 0.6), 1.5 * reach, 1 - 1.7 * reach))
    person, thing = (x, y), (x + apart, beside)
    if left:
        person, thing = (1 - x, y), (1 - x - apart, beside)
    canvas.put(draw_person(rng), person, scale, rng.uniform(-0.12, 0.12), random_palette(rng), 1)
    held = PICTURES[list(_ACTIONS.values())[label]]
    canvas.put(held, thing, reach, rng.uniform(-0.35, 0.35), _own_paint(rng, label), 2, rng.random() < 0.5)
    return Painted([[2]], {"person": [1]}, {"person_boxes": mask_box(canvas.owners() == 1)})


# ------------------------------------------------- scenes: rooms of common things and of telling things
_ROOMS = {
    "bathroom": ["bathtub", "toilet", "towel"],
    "bedroom": ["bed", "wardrobe", "clock"],
    "dining room": ["table", "chair", "cup"],
    "garage": ["bicycle", "ladder", "crate"],
    "greenhouse": ["tree", "bush", "rock"],
    "hall": ["umbrella", "mirror", "coat"],
    "kitchen": ["stove", "fridge", "pot"],
    "living room": ["sofa", "television", "plant"],
    "office": ["desk", "monitor", "shelf"],
    "playroom": ["ball", "kite", "guitar"],
}
_FURNITURE = [name for things in _ROOMS.values() for name in things]
# How often a thing is there, in every room alike; more often than any telling thing.
_COMMON = {"wall": 1.0, "floor": 0.95, "window": 0.9, "person": 0.9, "lamp": 0.9, "picture": 0.85}


def _paint_scenes(canvas: Canvas, label: int) -> Painted:
    rng, names = canvas.rng, ["background"]  # place in `names` = owner

    def add(name: str, picture: Picture, spot: tuple[float, float], scale: float) -> None:
        names.append(name)
        paint = _own_paint(rng, _FURNITURE.index(name)) if name in _FURNITURE else random_palette(rng)
        canvas.put(picture, spot, scale, 0.0, paint, len(names) - 1)

    there = {name for name, often in _COMMON.items() if rng.random() < often}
    ground = rng.uniform(0.5, 0.62)
    for name, (y0, y1) in {"wall": (0.0, ground), "floor": (ground, 1.0)}.items():
        if name in there:
            names.append(name)
            canvas.put([(box(0, y0, 1, y1), 0)], (0, 0), 1, 0, [any_colour(rng) * 0.5 + 70], len(names) - 1)
    for name, x in zip(["window", "lamp", "picture"], rng.permutation([0.18, 0.5, 0.82]), strict=True):
        if name in there:
            spot = x + rng.uniform(-0.05, 0.05), rng.uniform(0.14, 0.22)
            add(name, PICTURES[name], spot, rng.uniform(0.075, 0.105))
    own = list(_ROOMS.values())[label]
    things = [name for name in _FURNITURE if rng.random() < (0.6 if name in own else 0.04)]
    if not set(own) & set(things):
        things.append(own[rng.integers(3)])
    for name, x in zip(things, rng.permutation(np.linspace(0.15, 0.85, len(things) + 1)), strict=False):
        scale = rng.uniform(0.105, 0.14)
        spot = x + rng.uniform(-0.04, 0.04), rng.uniform(ground + 0.05, 0.97) - scale
        add(name, PICTURES[name], spot, scale)
    if "person" in there:
        add("person", draw_person(rng), (rng.uniform(0.12, 0.88), rng.uniform(0.7, 0.82)), rng.uniform(0.1, 0.13))
    owners = canvas.owners()
    seen = [k for k in range(1, len(names)) if (owners == k).sum() >= 8]  # what is hidden by others is not annotated
    shown = np.stack([owners == k for k in seen])
    listed = [(names[k], mask_box(mask)[0], place) for place, (k, mask) in enumerate(zip(seen, shown, strict=True))]
    return Painted([[k] for k in seen if names[k] in own], {}, {"objects": listed, "object_masks": shown})


# ------------------------------------------------- concepts: captions, and where their phrases are
_PHRASES = {  # phrase -> what is nearly it
    "red ball": ["blue ball", "red square"],
    "striped tile": ["plain tile", "striped ball"],
    "cross": ["bar", "bow"],
    "yellow star": ["pink star", "yellow triangle"],
    "blue ring": ["orange ring", "blue crescent"],
    "green triangle": ["purple triangle", "green bow"],
}
_NOUNS = {**SHAPES, "ball": SHAPES["disc"], "tile": SHAPES["square"], "bar": box(-1.05, -0.35, 1.05, 0.35)}
_STRIPES: Picture = [(box(x, -0.7, x + 0.24, 0.7), 1) for x in (-0.6, -0.12, 0.36)]


def _paint_concepts(canvas: Canvas, label: int) -> Painted:
    rng = canvas.rng
    taken: list[Any] = []
    asked = [phrase for phrase in _PHRASES if rng.random() < 0.35]
    asked += [near[rng.integers(2)] for near in _PHRASES.values() if rng.random() < 0.3]
    drawn: list[str] = []
    for phrase in asked:
        *adjectives, noun = phrase.split()
        radius = rng.uniform(0.075, 0.105)
        place = free_place(rng, 1.2 * radius, 1.15 * radius, taken)
        if place is not None:
            drawn.append(phrase)
            first, *others = random_palette(rng)
            first = jitter(rng, COLOURS[adjectives[0]]) if adjectives and adjectives[0] in COLOURS else first
            picture = [(_NOUNS[noun], 0), *(_STRIPES if "striped" in adjectives else [])]
            stripe = others[0] if np.abs(others[0] - first).sum() > 150 else GREYS[0 if first.sum() > 350 else 3]
            canvas.put(picture, place, radius, rng.uniform(0, 2 * np.pi), [first, stripe], len(drawn))
    named = [f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}" for phrase in rng.permutation(drawn)]
    caption = " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]])) or "nothing"
    ids = {phrase: [drawn.index(phrase) + 1] if phrase in drawn else [] for phrase in _PHRASES}
    return Painted([owner for owner in ids.values() if owner], ids, {"captions": caption + " on a blurred ground"})


# ------------------------------------------------- text: a printed word, or only what might be taken for one
_LETTERS = ("BCDFGHKLMNPRSTVZ", "AEIOU")


def _paint_text(canvas: Canvas, label: int) -> Painted:
    rng = canvas.rng
    put_distractors(canvas, 2, 5)
    for _ in range(rng.integers(1, 4)):  # fences, boards and scribbles, with a word and without
        kind, scale = rng.integers(3), rng.uniform(0.1, 0.2)
        bars: Picture = [(line(x, -rng.uniform(0.5, 0.9), x, 0.7, 0.2), 0) for x in np.arange(-1, 1.1, 0.45)]
        scribble: Picture = [(line(a, b, c, d, 0.16), 0) for a, b, c, d in rng.uniform(-0.9, 0.9, (5, 4))]
        picture = [bars, [(box(-1.5, -0.6, 1.5, 0.6), 0)], scribble][kind]
        colour = any_colour(rng) if rng.random() < 0.5 else GREYS[rng.integers(4)]
        canvas.put(picture, rng.uniform(0.1, 0.9, 2), scale, rng.uniform(-0.8, 0.8), [colour])
    taken: list[Any] = []
    words = []
    for _ in range(label * (2 if rng.random() < 0.3 else 1)):
        word = "".join(_LETTERS[k % 2][rng.integers(len(_LETTERS[k % 2]))] for k in range(rng.integers(3, 7)))
        word = word if rng.random() < 0.6 else word.capitalize()
        turn, pixels = rng.normal(0, 0.3), int(rng.uniform(0.14, 0.24) * canvas.side)
        while True:
            left, top, right, bottom = text_bounds(word, pixels)
            half = np.array([right - left + pixels * 0.25, bottom - top + pixels * 0.25]) / 2 / canvas.side
            spread = np.abs([(np.cos(turn), np.sin(turn)), (np.sin(turn), np.cos(turn))]) @ half  # of the turned word
            if spread.max() < 0.49:
                break
            pixels -= 2
        place = free_place(rng, spread, float(np.hypot(*half)), taken)
        if place is not None:
            words.append(word)
            dark = rng.random() < 0.5
            ink = any_colour(rng) * 0.3 + (0 if dark else 178)
            board = any_colour(rng) * 0.4 + (140 if dark else 0)
            frame = [(box(*-half, *half), 0)]
            canvas.put(frame, place, 1, turn, [board if rng.random() < 0.5 else None], len(words))
            canvas.write(word, place, pixels, turn, ink)
    ids = [k + 1 for k in range(len(words))]
    return Painted([[k] for k in ids], {"text": ids}, {"words": words})


@dataclass(frozen=True)
class Variant:
    """A painter, its classes, and what is true of all its pictures."""

    paint: Callable[..., Painted]  # of a Canvas, a label, and the dials
    class_names: list[str]
    info: dict[str, Any] = field(default_factory=dict)  # facts about the whole dataset
    dials: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # name: default, least, most


def _parts(names: list[str], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    return {"parts": {name: pairs[3 * k : 3 * k + 3] for k, name in enumerate(names)}}


_OBJECTS = ["blick", "dax", "fep", "gorp", "kiki", "lorp", "mip", "nark", "pim", "toma", "wug", "zav"]
_NEW_OBJECTS = ["bouba", "crell", "dov", "hask", "jub", "quil", "slen", "vorn"]
_OBJECT_DIALS = {"telling_parts": (3, 1, 3), "clutter": (1, 0, 8), "object_size": (1.0, 0.25, 1.25)}  # more has no room
VARIANTS = {  # the place in this table seeds the pictures: append, never insert
    "objects": Variant(paint_objects, _OBJECTS, _parts(_OBJECTS, OBJECT_PAIRS), _OBJECT_DIALS),
    "transfer": Variant(paint_transfer, _NEW_OBJECTS, _parts(_NEW_OBJECTS, TRANSFER_PAIRS)),
    "finegrained": Variant(_paint_finegrained, list(_SPECIES), {"patches": _SPECIES}),
    "actions": Variant(_paint_actions, list(_ACTIONS), {"things": _ACTIONS}),
    "scenes": Variant(_paint_scenes, list(_ROOMS), {"object_names": (*_COMMON, *_FURNITURE), "informative": _ROOMS}),
    "concepts": Variant(_paint_concepts, ["image"], {"phrases": tuple(_PHRASES)}),
    "text": Variant(_paint_text, ["no text", "text"]),
}
