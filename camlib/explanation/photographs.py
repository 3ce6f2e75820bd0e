"""`explain`: photographs through a network, one map and its boxes per class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from camlib.boxes import largest_component_box, released_boxes, to_8_bit
from camlib.cam import class_activation_maps, merge_ten_crop, ten_crop
from camlib.datasets.photos import Photo, read_photo
from camlib.explanation.evidence import ClassEvidence, Explanation, Rule, Window, place_map
from camlib.explanation.networks import find_classes, wrap_network
from camlib.models import GAPNet
from camlib.train import Network
from camlib.transforms import (
    RESAMPLING,
    Preset,
    adjust_preset,
    centre_crop,
    crop_windows,
    normalize_images,
    squash_image,
)

Geometry = Literal["aspect", "crop", "whole"]
Picture = str | Path | Image.Image | np.ndarray | BinaryIO
BATCH = 16  # photographs per forward pass


class _Seen(NamedTuple):
    """What a network gave for one photograph."""

    classes: np.ndarray  # (k,)
    scores: np.ndarray  # (k,)
    maps: np.ndarray  # (k, h, w)
    window: Window


@overload
def explain(net: Network | nn.Module, picture: Picture, **options: Any) -> Explanation: ...
@overload
def explain(net: Network | nn.Module, picture: Sequence[Picture], **options: Any) -> list[Explanation]: ...
def explain(  # type: ignore[misc]
    net: Network | nn.Module,
    picture: Picture | Sequence[Picture],
    *,
    classes: int | str | Sequence[int | str] | None = None,
    top: int = 5,
    rule: Rule = "text",
    threshold: float = 0.2,
    geometry: Geometry | None = None,
    scale: int | None = None,
    preset: str | Preset | None = None,
    class_names: Sequence[str] | None = None,
) -> Explanation | list[Explanation]:
    """What a network sees in a photograph, and where: classes, scores, class activation maps and boxes.

    net: what `load_network` gives; or a model of torchvision or timm that ends in global average pooling and one linear
        layer. It runs on the device that it is on, in eval mode.
    picture: a file, an address, a PIL image, an array, or an open binary file, see `camlib.datasets.photos.read_photo`;
        or a list of them, explained in batches.
    classes: which ones to look for, by index or name; by default the `top` best.
    rule: "text", one pass and the largest piece above `threshold` of the map's maximum; or "released", the authors'
        code: ten crops of the squashed photograph and fixed thresholds, two boxes per class.
    geometry: how a photograph becomes input. "aspect" keeps its shape: the scores are those of a centred square, as the
        ImageNet weights of torchvision and timm expect; the maps are of the whole photograph at the same scale.
        "crop": the centre of the squashed photograph, as in `evaluate` and the paper, one pass for both. "whole": the
        whole photograph, squashed. By default "aspect", or "whole" for a preset without a crop.
    scale: the input size in px; by default the preset's.
    preset: the preprocessing, a name of `camlib.transforms` or a Preset. A Network or a timm model brings its own.
    class_names: of a bare model; by default ImageNet's, if it has 1,000 classes.
    Raises FileNotFoundError or OSError for a picture that can't be read, by name; ValueError for a network that does
    not end so, for an unknown class (with those that are close), and for other wrong options.

        net = camlib.load_network("efficientnet_lite0")
        found = camlib.explain(net, "cat.jpg")
        found.classes[0].name, found.classes[0].box, found.classes[0].map
        found.save("cam")
    """
    if rule not in ("text", "released"):
        raise ValueError(f"rule is {rule!r}; expected 'text' or 'released'")
    if geometry not in (None, "aspect", "crop", "whole"):
        raise ValueError(f"geometry is {geometry!r}; expected 'aspect', 'crop' or 'whole'")
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}; expected a fraction of the maximum, 0 <= threshold < 1")
    if rule == "released" and (threshold != 0.2 or geometry is not None):
        raise ValueError("threshold and geometry are of the text's rule; the released one fixes both")
    network = wrap_network(net, preset, class_names)
    settings = adjust_preset(network.preset, scale=scale)
    indices = None if classes is None else find_classes(classes, network.class_names)
    top = min(top, len(network.class_names))
    several = isinstance(picture, Sequence) and not isinstance(picture, str)
    pictures: Any = picture if several else [picture]
    photos = [read_photo(one) for one in pictures]
    found = []
    for start in range(0, len(photos), BATCH):
        batch = photos[start : start + BATCH]
        seen = _look(network.net, batch, settings, indices, top, rule, geometry)
        for photo, one in zip(batch, seen, strict=True):
            evidence = _box_classes(photo, one, network.class_names, rule, threshold)
            limit = threshold if rule == "text" else None
            found.append(Explanation(photo, network.source, rule, limit, evidence, classes is not None))
    return found if several else found[0]


def _look(
    net: GAPNet,
    photos: Sequence[Photo],
    preset: Preset,
    indices: list[int] | None,
    top: int,
    rule: Rule,
    geometry: Geometry | None,
) -> list[_Seen]:
    place = next(net.parameters())
    asked = None if indices is None else torch.tensor([indices] * len(photos), device=place.device)
    shape = geometry or ("aspect" if preset.squash > preset.crop else "whole")
    maps: Sequence[Tensor] | Tensor

    def to_input(pictures: list[np.ndarray]) -> Tensor:
        return normalize_images(torch.from_numpy(np.stack(pictures)), preset).to(place.device, place.dtype)

    if rule == "released":
        squash = preset.squash if preset.squash > preset.crop else round(preset.crop * 8 / 7)  # 256 for 224
        x = to_input([squash_image(photo.image, squash, preset.interpolation) for photo in photos])
        scores, classes, maps = _predict_ten_crops(net, x, preset.crop, top, asked)
        windows = [(0, 0, *photo.image.size) for photo in photos]
    else:
        aspect = shape == "aspect"  # the centre tells the classes; the map is of the whole photograph at its scale
        cuts = [(_resize_whole if aspect else _squash)(photo.image, preset, shape) for photo in photos]
        if aspect:
            x = to_input([_cut_centre(pixels, preset.crop) for pixels, _ in cuts])
        else:
            x = centre_crop(to_input([pixels for pixels, _ in cuts]), preset.crop)
        logits, classes, maps = net.predict_with_cam(x, top, asked)
        scores, windows = logits.float().softmax(1), [window for _, window in cuts]
        if aspect:
            wholes = [to_input([pixels]) for pixels, _ in cuts]
            maps = [net.predict_with_cam(x, classes=classes[[i]])[2][0] for i, x in enumerate(wholes)]
    shares = scores.gather(1, classes).cpu().numpy()
    arrays = zip(classes.cpu().numpy(), shares, maps, windows, strict=True)
    return [_Seen(k, share, one.float().cpu().numpy(), window) for k, share, one, window in arrays]


def _squash(image: Image.Image, preset: Preset, geometry: Geometry) -> tuple[np.ndarray, Window]:
    """The squashed photograph, uint8 (3, S, S), and where its centre crop lies in the photograph."""
    preset = adjust_preset(preset, "crop" if geometry == "crop" else "whole")
    low_x, low_y, high_x, high_y = crop_windows(np.array([image.size]), preset)[0].round().astype(int).tolist()
    window = (low_x, low_y, max(high_x, low_x + 1), max(high_y, low_y + 1))
    return squash_image(image, preset.squash, preset.interpolation), window


def _resize_whole(image: Image.Image, preset: Preset, geometry: Geometry) -> tuple[np.ndarray, Window]:
    """The photograph with its short side at `preset.squash` px and the long one at most four times that; all of it."""
    short = min(image.size)
    width, height = (min(side * preset.squash // short, 4 * preset.squash) for side in image.size)
    resized = image.resize((width, height), RESAMPLING[preset.interpolation])
    return np.array(resized).transpose(2, 0, 1), (0, 0, *image.size)


def _cut_centre(pixels: np.ndarray, crop: int) -> np.ndarray:
    """(3, H, W) -> (3, crop, crop), the offsets rounded as torchvision does."""
    y, x = (round((side - crop) / 2) for side in pixels.shape[1:])
    return pixels[:, y : y + crop, x : x + crop]


def _predict_ten_crops(
    net: GAPNet, x: Tensor, crop: int, top: int, asked: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `evaluate.predict_ten_crop`, for classes asked for too: scores (B, C), classes (B, k), maps (B, k, S, S)."""
    if net.training:
        raise ValueError("explain needs the network in eval mode: call .eval() first")
    with torch.no_grad():
        features = net.features(ten_crop(x, crop).flatten(0, 1))  # (B * 10, K, h, w)
        every = net.fc(net.pool_features(features)).float().softmax(1)  # (B * 10, C)
        scores = every.unflatten(0, (-1, 10)).mean(1)  # (B, C)
        classes = scores.topk(top).indices if asked is None else asked
        maps = class_activation_maps(features, net.fc.weight, classes.repeat_interleave(10, 0))
        return scores, classes, merge_ten_crop(maps.float().unflatten(0, (-1, 10)), (x.shape[-2], x.shape[-1]), crop)


def _box_classes(photo: Photo, seen: _Seen, names: Sequence[str], rule: Rule, threshold: float) -> list[ClassEvidence]:
    size, found = photo.image.size, []
    for index, score, raw in zip(seen.classes.tolist(), seen.scores.tolist(), seen.maps, strict=True):
        try:
            if rule == "released":
                boxes = released_boxes(to_8_bit(raw, size))[:2]
            else:
                boxes = largest_component_box(place_map(raw, seen.window, size), threshold)[None]
        except ValueError as error:
            raise ValueError(f"{photo.source}, class {names[index]}: {error}") from error
        found.append(ClassEvidence(index, names[index], score, boxes, raw, seen.window, size))
    return found
