"""An instrument for a cell of a notebook: picture, class, threshold, rule and input size beside map, mask and box.

(`camlib.explanation` does not import it: only notebooks need ipywidgets.)
"""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from camlib.boxes import above_threshold, largest_component_box, to_8_bit
from camlib.datasets.base import Dataset
from camlib.explanation.evidence import Explanation, Rule, frame_boxes, place_map
from camlib.explanation.networks import wrap_network
from camlib.explanation.photographs import explain
from camlib.train import Network
from camlib.transforms import Preset
from camlib.viz import overlay_map

LONGEST = 800  # px of a picture's longer side; a larger one is shrunk to that first
CLASSES = 10  # best ones that can be chosen
SCALES = (0.5, 1, 1.5, 2)  # of the preset's input size
LOWEST = 20  # of 255: the lowest threshold of the released rule
GAP, DIM, LINE = 8, 0.25, 22  # px between the pictures; light outside the mask; px of a line of text


class _View(NamedTuple):
    """What redrawing takes of one class in one picture; no threshold changes it."""

    picture: np.ndarray  # (H, W, 3) uint8
    heatmap: np.ndarray  # (H, W) float32, raw
    overlay: np.ndarray  # (H, W, 3) uint8


class Instrument(widgets.VBox):
    """Controls, and under them the map and the mask of the chosen class with its boxes.

    The network looks at a picture once per rule and input size. Another class or threshold is only drawn.
    `boxes` (n, 4) are those shown, in pixels of the picture. A page without scripts shows an image of it all.

        Instrument(net, images, preset, class_names)
    """

    def __init__(
        self,
        net: Network | nn.Module,
        images: Dataset,
        preset: str | Preset | None = None,
        class_names: Sequence[str] | None = None,
        start: int = 0,
    ):
        """net, preset, class_names: as of `camlib.explain`. images: to choose from. start: index of the first shown.

        Raises ValueError as `explain` does, IndexError if there is no image `start`.
        """
        images.check_index(start)
        self.images, self.network = images, wrap_network(net, preset, class_names)
        self._seen, self._view = lru_cache(32)(self._look), lru_cache(16)(self._prepare)
        self.boxes = np.zeros((0, 4))
        crop = self.network.preset.crop
        names = [(name, i) for i, name in enumerate(images.ids)]
        self.image = widgets.Dropdown(options=names, value=start, description="picture")
        self.shown = widgets.Dropdown(description="class")
        rules: list[Rule] = ["text", "released"]
        self.rule = widgets.Dropdown(options=rules, description="rule")
        scales = [(f"{round(crop * share)} px", round(crop * share)) for share in SCALES]
        self.scale = widgets.Dropdown(options=scales, value=crop, description="input")
        self.threshold = widgets.FloatSlider(0.2, min=0, max=0.99, step=0.01, description="threshold")
        self.picture, self.caption = widgets.Image(format="jpeg"), widgets.HTML()
        for control in (self.image, self.rule, self.scale):
            control.observe(self._choose, "value")
        for control in (self.shown, self.threshold):
            control.observe(self._draw, "value")
        controls = (self.image, self.shown, self.threshold, self.rule, self.scale)
        super().__init__([widgets.Box(controls, layout={"flex_flow": "row wrap"}), self.picture, self.caption])
        self._choose()

    def _look(self, image: int, scale: int, rule: Rule) -> Explanation:
        """A forward pass: what the network sees in a picture."""
        picture = self.images[image]
        picture.thumbnail((LONGEST, LONGEST))
        return explain(self.network, picture, top=CLASSES, rule=rule, scale=scale)

    def _prepare(self, image: int, scale: int, rule: Rule, index: int) -> _View:
        seen = self._seen(image, scale, rule)
        (one,) = [one for one in seen.classes if one.index == index]
        picture, heatmap = np.asarray(seen.photo.image), place_map(one.raw, one.window, one.size)
        return _View(picture, heatmap, overlay_map(picture, heatmap))

    def _choose(self, _: Any = None) -> None:
        """Another picture, rule or input size: its best classes; the one that was chosen stays if it is among them."""
        seen = self._seen(self.image.value, self.scale.value, self.rule.value)
        kept, names = self.shown.value, [(f"{one.name} ({one.score:.0%})", one.index) for one in seen.classes]
        self.shown.unobserve(self._draw, "value")
        self.shown.options = names
        self.shown.value = kept if kept in [index for _, index in names] else names[0][1]
        self.shown.observe(self._draw, "value")
        self.threshold.disabled = self.rule.value != "text"
        self._draw()

    def _draw(self, _: Any = None) -> None:
        settings = (self.image.value, self.scale.value, self.rule.value)
        picture, heatmap, overlay = self._view(*settings, self.shown.value)
        if self.rule.value == "text":
            mask: np.ndarray = above_threshold(heatmap, self.threshold.value)
            self.boxes = largest_component_box(heatmap, self.threshold.value)[None]
            rule = f"above {self.threshold.value:.0%} of the map's maximum. Box of its largest piece"
        else:
            (one,) = [one for one in self._seen(*settings).classes if one.index == self.shown.value]
            mask, self.boxes = to_8_bit(one.raw, one.size) > LOWEST, one.boxes
            rule = f"above {LOWEST} of 255, the lowest of three thresholds. Loose and tight box"
        dimmed = np.where(mask[..., None], picture, (picture * DIM).astype(np.uint8))
        both = [np.asarray(frame_boxes(Image.fromarray(side), self.boxes)) for side in (overlay, dimmed)]
        gap = np.full((len(picture), GAP, 3), 255, np.uint8)
        self.picture.value = _to_jpeg(Image.fromarray(np.hstack([both[0], gap, both[1]])))
        corners = ", ".join(" ".join(f"{corner:.0f}" for corner in box) for box in self.boxes)
        self.caption.value = f"Left: the map. Right: the {mask.mean():.0%} of the picture {rule}: {corners}"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """As any widget, and for pages without scripts the picture over its settings."""
        settings = f"{self.image.label}; {self.shown.label}; rule: {self.rule.value}; input: {self.scale.label}"
        lines, font = [settings, self.caption.value], ImageFont.load_default(14)
        drawn = Image.open(io.BytesIO(self.picture.value))
        width = max(drawn.width, *(round(font.getlength(line)) + 4 for line in lines))
        canvas = Image.new("RGB", (width, drawn.height + LINE * len(lines)), "white")
        canvas.paste(drawn)
        for i, line in enumerate(lines):
            ImageDraw.Draw(canvas).text((2, drawn.height + LINE * i + 3), line, "black", font)
        file = io.BytesIO()
        canvas.save(file, "PNG")
        still = {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": ". ".join(lines)}
        return super()._repr_mimebundle_(**kwargs) | still, {}


def _to_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()
