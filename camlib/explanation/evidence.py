"""What `explain` gives: a photograph's classes with their maps and boxes, as figures and as files."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from camlib.cam import resize_map
from camlib.datasets.photos import Photo
from camlib.store import write_aside
from camlib.viz import PREDICTED_COLOUR, overlay_map, plot_gallery

Rule = Literal["text", "released"]
Window = tuple[int, int, int, int]
OVERLAY_LIMIT, PLOT_LIMIT = 2048, 1024  # px of the longer side of pictures for people


@dataclass(frozen=True)
class ClassEvidence:
    """What a network sees of one class in one photograph."""

    index: int
    name: str
    score: float  # softmax; of the released rule its mean over ten crops
    boxes: np.ndarray  # (n, 4) float64, see `camlib.boxes`; text: one; released: the loose one, then the tight one
    raw: np.ndarray  # (h, w) float32, signed: the map as the network gave it
    window: Window  # where that lies in the photograph
    size: tuple[int, int]  # of the photograph, (width, height)

    @property
    def box(self) -> np.ndarray:
        """The first box (4,)."""
        return self.boxes[0]

    @property
    def map(self) -> np.ndarray:
        """The map at the photograph's size: (H, W) float32, raw and signed; made when asked for."""
        return place_map(self.raw, self.window, self.size)


@dataclass(frozen=True)
class Explanation:
    """A photograph, and what a network sees in it."""

    photo: Photo
    network: str
    rule: Rule
    threshold: float | None
    classes: list[ClassEvidence]  # best first, or as asked
    asked: bool  # whether the classes were asked for

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright photograph in pixels."""
        return self.photo.image.size

    def __str__(self) -> str:
        notes = "".join(f" ({note})" for note in self.photo.notes)
        first = self.classes[0]
        corners = " ".join(f"{v:.0f}" for v in first.box)
        others = "".join(f", {one.name} {one.score:.0%}" for one in self.classes[1:])
        return f"{self.photo.source}{notes}: {first.name} {first.score:.0%}, box {corners}{others}"

    def to_dict(self) -> dict[str, Any]:
        """All but the maps, as JSON can hold it."""
        return {
            "photograph": self.photo.source,
            "notes": list(self.photo.notes),
            "size": list(self.size),
            "network": self.network,
            "rule": self.rule,
            "threshold": self.threshold,
            "seen": list(self.classes[0].window),
            "box_format": "x0, y0, x1, y1, half-open, in pixels of the upright photograph",
            "classes": [
                {"index": one.index, "name": one.name, "score": one.score, "boxes": one.boxes.tolist()}
                for one in self.classes
            ],
        }

    def plot(self) -> Figure:
        """A figure with the map and the boxes of each class over the photograph."""
        image, shrink = self._shrink(PLOT_LIMIT)
        maps = [place_map(one.raw, _scale(one.window, shrink, image.size), image.size) for one in self.classes]
        titles = [f"{one.name} ({one.score:.0%})" for one in self.classes]
        boxes = [one.boxes * shrink for one in self.classes]
        return plot_gallery([np.asarray(image)] * len(maps), maps, boxes, titles=titles, columns=5)

    def overlay(self, which: int = 0) -> Image.Image:
        """The photograph under the map of class number `which` of `classes`, with its boxes; at most 2,048 px wide."""
        one, (image, shrink) = self.classes[which], self._shrink(OVERLAY_LIMIT)
        heatmap = place_map(one.raw, _scale(one.window, shrink, image.size), image.size)
        return frame_boxes(Image.fromarray(overlay_map(np.asarray(image), heatmap)), one.boxes * shrink)

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Write overlay, JSON and raw maps into a folder -> {"overlay", "json", "maps": the files}.

        NAME_cam.png shows the best class, or NAME_cam_CLASS.png each class that was asked for. NAME_cam.json is
        `to_dict`. NAME_cam.npz holds the raw maps (k, h, w), their window, classes (k,) and scores (k,). NAME is the
        photograph's; where another photograph of that name was saved before, a number is added. The same one again is
        written over.
        """
        origin = self._find_origin()
        stem = self._free_stem(Path(folder), origin)
        names = [re.sub(r"\W+", "_", f"_{one.name}"[:60]) for one in self.classes] if self.asked else [""]
        if len(set(names)) < len(names):  # two classes of one name
            names = [f"{name}_{one.index}" for name, one in zip(names, self.classes, strict=True)]
        overlays = [stem.with_name(f"{stem.name}{name}.png") for name in names]
        for which, path in enumerate(overlays):
            with write_aside(path) as aside:
                self.overlay(which).save(aside)
        arrays = {
            "maps": np.stack([one.raw for one in self.classes]),
            "window": np.array(self.classes[0].window),
            "classes": np.array([one.index for one in self.classes]),
            "scores": np.array([one.score for one in self.classes], np.float32),
        }
        files = {"overlay": overlays[0], "json": Path(f"{stem}.json"), "maps": Path(f"{stem}.npz")}
        with write_aside(files["maps"]) as aside:
            np.savez(aside, **arrays)  # type: ignore[arg-type]
        written = {"overlays": [path.name for path in overlays], "maps": files["maps"].name}
        record = self.to_dict() | written | {"origin": origin}
        with write_aside(files["json"]) as aside:
            aside.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return files

    def _find_origin(self) -> str | None:
        """What tells this photograph from another of its name: the whole path or the address; None in memory."""
        source = self.photo.source
        if source in ("-", "picture"):
            return None
        return source if "://" in source else str(Path(source).expanduser().resolve())

    def _free_stem(self, folder: Path, origin: str | None) -> Path:
        source = self.photo.source
        name = "stdin" if source == "-" else Path(urlsplit(source).path if "://" in source else source).stem
        count = 1
        while True:
            stem = folder / f"{name or 'picture'}{f'_{count}' if count > 1 else ''}_cam"
            earlier = Path(f"{stem}.json")
            if not earlier.exists() or (origin is not None and _read_origin(earlier) == origin):
                return stem
            count += 1

    def _shrink(self, limit: int) -> tuple[Image.Image, np.ndarray]:
        """The photograph with at most `limit` px a side, and by what its (x, y, x, y) were multiplied (4,)."""
        image = self.photo.image.copy()
        image.thumbnail((limit, limit))
        return image, np.tile(np.divide(image.size, self.size), 2)


def place_map(raw: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) resized to its window of a photograph of size (width, height) -> (H, W) float32.

    Outside the window nothing was seen: there it is its minimum or 0, the lower.
    """
    x0, y0, x1, y1 = window
    resized = resize_map(raw, (x1 - x0, y1 - y0))
    if (x1 - x0, y1 - y0) == size:
        return resized
    canvas = np.full(size[::-1], min(0.0, float(resized.min())), np.float32)
    canvas[y0:y1, x0:x1] = resized
    return canvas


def frame_boxes(picture: Image.Image, boxes: np.ndarray) -> Image.Image:
    """Draw boxes (n, 4), half-open in pixels, into an RGB picture, with a white edge; returns the picture."""
    draw, line = ImageDraw.Draw(picture), max(1, round(max(picture.size) / 250))
    for x0, y0, x1, y1 in boxes.round().astype(int).tolist():
        corners = (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0))
        draw.rectangle(corners, outline="white", width=line + 2)
        draw.rectangle(corners, outline=PREDICTED_COLOUR, width=line)
    return picture


def _scale(window: Window, shrink: np.ndarray, size: tuple[int, int]) -> Window:
    """A window of the photograph in its smaller copy of size (width, height)."""
    x0, y0, x1, y1 = (np.array(window) * shrink).round().astype(int).tolist()
    x0, y0 = min(x0, size[0] - 1), min(y0, size[1] - 1)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _read_origin(path: Path) -> str | None:
    """Which photograph an earlier JSON file is about; None if it is none of ours."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["origin"]
    except (ValueError, KeyError, TypeError):
        return None
