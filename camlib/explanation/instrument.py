"""A photograph, a class, a rule and a threshold to move: map, mask and box follow at once, in a notebook."""

import base64
import io
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from camlib.boxes import above_threshold, largest_component_box, released_boxes, to_8_bit
from camlib.cam import class_activation_maps, merge_ten_crop, resize_map, ten_crop
from camlib.explanation.evidence import Rule
from camlib.train import Network
from camlib.transforms import adjust_preset, normalize_images, squash_image
from camlib.viz import PREDICTED_COLOUR, overlay_map

HEIGHT = 320  # px of the pictures shown
LOOSEST = 20  # of the released rule's thresholds, on 8 bits
TEXT, RELEASED = "the text: one piece above the threshold", "the released code: ten crops, fixed thresholds"


class Sight(NamedTuple):
    """What a network gave for one picture: enough for the map of any class."""

    scores: Tensor  # (C,) softmax, of ten crops their mean
    features: Tensor  # (1 or 10, K, h, w)
    size: int  # px of the squashed picture
    crop: int  # px of a crop


def look_at(network: Network, picture: np.ndarray, scale: int, rule: Rule) -> Sight:
    """Run a network over the whole picture (H, W, 3) uint8 squashed to `scale` px, or over its ten crops of that."""
    preset = adjust_preset(network.preset, "whole", scale)
    size = scale if rule == "text" else round(scale * 8 / 7)
    squashed = squash_image(Image.fromarray(picture), size, preset.interpolation)
    x = normalize_images(torch.from_numpy(squashed)[None], preset)
    with torch.no_grad():
        features = network.net.features(x if rule == "text" else ten_crop(x, scale)[0])
        scores = network.net.fc(network.net.pool_features(features)).softmax(1).mean(0)
    return Sight(scores, features, size, scale)


def map_class(network: Network, sight: Sight, k: int) -> np.ndarray:
    """The map of class k, raw: (h, w) float32; of ten crops the merged one."""
    classes = torch.full((len(sight.features), 1), k)
    maps = class_activation_maps(sight.features, network.net.fc.weight.detach(), classes)
    if len(maps) == 10:
        maps = merge_ten_crop(maps[None], (sight.size, sight.size), sight.crop)
    return maps[0, 0].numpy()


def draw_panels(picture: np.ndarray, raw: np.ndarray, rule: Rule, threshold: float) -> tuple[Image.Image, np.ndarray]:
    """Map, mask and boxes of a picture (H, W, 3) uint8 side by side -> picture, boxes (n, 4) in its pixels."""
    height, width = picture.shape[:2]
    heatmap = resize_map(raw, (width, height))
    if rule == "text":
        mask, boxes = above_threshold(heatmap, threshold), largest_component_box(heatmap, threshold)[None]
    else:
        bits = to_8_bit(raw, (width, height))
        mask, boxes = (bits > LOOSEST).astype(np.uint8), released_boxes(bits)[:2]
    boxed = Image.fromarray(picture)
    for box in boxes:
        x0, y0, x1, y1 = box.round().astype(int).tolist()
        corners = (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0))
        ImageDraw.Draw(boxed).rectangle(corners, outline="white", width=5)
        ImageDraw.Draw(boxed).rectangle(corners, outline=PREDICTED_COLOUR, width=3)
    panels = [overlay_map(picture, heatmap), np.repeat(mask[:, :, None] * np.uint8(255), 3, 2), np.asarray(boxed)]
    gap = np.full((height, 8, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([panels[0], gap, panels[1], gap, panels[2]], 1)), boxes


class Instrument(widgets.VBox):
    """The controls and what they show. Where no kernel answers, in a page, it is the picture of its first state.

    network: see `load_network`. pictures: name -> (H, W, 3) uint8. scales: input sizes in px.
    The network runs once per picture, scale and rule; the other controls only draw. `milliseconds` is how long the
    last drawing took.
    """

    def __init__(
        self, network: Network, pictures: Mapping[str, np.ndarray], scales: tuple[int, ...] = (224, 320, 448)
    ) -> None:
        self.network, self.milliseconds, self.seen = network, 0.0, dict[tuple[str, int, Rule], Sight]()
        self.of = ""  # the picture whose classes are listed
        self.pictures = {name: _shrink(picture) for name, picture in pictures.items()}
        wide = {"style": {"description_width": "6em"}, "layout": widgets.Layout(width="34em", max_width="100%")}
        self.picture = widgets.Dropdown(options=list(pictures), description="Picture", **wide)
        self.scale = widgets.SelectionSlider(options=scales, description="Input, px", **wide)
        self.rule = widgets.Dropdown(options={TEXT: "text", RELEASED: "released"}, description="Boxes by", **wide)
        self.shown = widgets.Dropdown(description="Class", **wide)
        self.threshold = widgets.FloatSlider(0.2, min=0, max=0.95, step=0.05, description="Threshold", **wide)
        self.panels, self.says = widgets.Image(format="jpeg"), widgets.HTML()
        super().__init__([self.picture, self.shown, self.rule, self.threshold, self.scale, self.panels, self.says])
        self._list_classes()
        for control in (self.picture, self.scale, self.rule):
            control.observe(lambda _: self._list_classes(), "value")
        for control in (self.shown, self.threshold):
            control.observe(lambda _: self._draw(), "value")

    def _sight(self) -> Sight:
        key = (self.picture.value, self.scale.value, self.rule.value)
        if key not in self.seen:
            self.seen[key] = look_at(self.network, self.pictures[key[0]], *key[1:])
        return self.seen[key]

    def _list_classes(self) -> None:
        """Order the classes by their score in what is looked at now; the class stays, but for another picture."""
        scores, before = self._sight().scores, self.shown.value
        order = scores.argsort(descending=True).tolist()
        self.threshold.disabled = self.rule.value == "released"  # which fixes its own
        same, self.of = self.of == self.picture.value, ""  # nothing is drawn on the way
        self.shown.options = [(f"{self.network.class_names[k]} ({scores[k]:.1%})", k) for k in order]
        self.shown.value = before if same else order[0]
        self.of = self.picture.value
        self._draw()

    def _draw(self) -> None:
        if not self.of:
            return
        started = time.perf_counter()
        sight, k = self._sight(), self.shown.value
        picture = self.pictures[self.picture.value]
        shown, boxes = draw_panels(picture, map_class(self.network, sight, k), self.rule.value, self.threshold.value)
        self.panels.value = _encode(shown, "jpeg")
        self.milliseconds = 1000 * (time.perf_counter() - started)
        box = ", ".join(f"{v:.0f}" for v in boxes[0])
        self.says.value = f"Map, mask and box ({box} px of {picture.shape[1]} x {picture.shape[0]}), drawn in "
        self.says.value += f"{self.milliseconds:.0f} ms"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["image/png"] = base64.b64encode(_encode(Image.open(io.BytesIO(self.panels.value)), "png")).decode()
        data["text/plain"] = f"{self.picture.value}, {self.shown.label}: map, mask and box"
        return bundle


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=90)
    return buffer.getvalue()


def _shrink(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    image.thumbnail((2 * HEIGHT, HEIGHT))
    return np.asarray(image)
