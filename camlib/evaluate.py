"""A network over a whole dataset: files in, classes, maps and boxes out; one forward pass, resumable shard by shard."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from camlib.boxes import largest_component_box, released_boxes, threshold_boxes, to_8_bit
from camlib.cam import class_activation_maps, merge_ten_crop, resize_map, ten_crop
from camlib.datasets.base import Dataset
from camlib.metrics import correct_boxes, localization_errors
from camlib.models import GAPNet, digest_network
from camlib.saliency import gradient_saliency
from camlib.store import digest, run_sharded
from camlib.transforms import Preset, centre_crop, crop_windows, iterate_batches, normalize_images, pick_device

Output = TypeVar("Output")


@dataclass
class Localization:
    """Boxes of the text rule for a dataset of N images."""

    thresholds: np.ndarray  # (T,) fractions of a map's maximum
    classes: np.ndarray  # (N, k) int64, best first
    scores: np.ndarray  # (N, k) float32, softmax
    boxes: np.ndarray  # (N, k, T, 4) float64, of the predicted classes, pixels of the original image
    known_boxes: np.ndarray  # (N, T, 4) float64, of the true class ("class-known localization")


@dataclass
class ReleasedLocalization:
    """The released protocol for a dataset of N images: two boxes for each of the five best classes."""

    classes: np.ndarray  # (N, k) int64, ranked by the mean score of ten crops
    loose: np.ndarray  # (N, k, 4) float64, `bbox1`: the largest box
    tight: np.ndarray  # (N, k, 4) float64, `bbox2`: the next one kept (the loose one where there is no other)


def forward_batches(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    compute: Callable[[Tensor, np.ndarray], Output],
    *,
    indices: np.ndarray | None = None,
    batch_size: int = 64,
    crop: bool = True,
) -> Iterator[tuple[np.ndarray, Output]]:
    """Run `compute` over a dataset, batch by batch, with the network on the GPU where there is one.

    compute(x, batch): x (B, 3, S, S) is network input on the device, the centre crops or, with crop=False, the whole
        squashed images; batch (B,) are their indices. It runs without gradients, the network in eval mode.
    indices: which images, by default all. Yields (batch, what compute gave).
    The network is back where it was when the loop ends. Raises what the dataset raises for a bad image.
    """
    home, device = next(net.parameters()).device, pick_device()
    net.to(device).eval()
    try:
        for batch, images in iterate_batches(dataset, preset, batch_size, indices):
            images = centre_crop(images, preset.crop) if crop else images
            with torch.no_grad():
                output = compute(normalize_images(images.to(device), preset), batch)
            yield batch, output
    finally:
        net.to(home)


def localize(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    *,
    top: int = 5,
    thresholds: Iterable[float] = (0.2,),
    method: Literal["cam", "gradient"] = "cam",
    batch_size: int = 64,
) -> Localization:
    """Classes and text-rule boxes for every image (paper, Sections 2 and 3.2).

    Each image's centre crop goes through the network once. The maps of the `top` best classes and of the true class are
    resized to the crop's place in the original image, kept above each of `thresholds` x their maximum, and boxed. A map
    with no positive value boxes the whole image. method: "cam", or "gradient" for the saliency baseline.
    Raises what the dataset raises for a bad image, and ValueError naming the image whose map is not finite.
    """
    fractions = np.asarray(list(thresholds), float)
    top = min(top, net.fc.out_features)
    windows = crop_windows(dataset.sizes, preset)

    def forward(x: Tensor, batch: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        features = net.features(x)  # (B, K, h, w)
        scores, best = net.fc(net.pool_features(features)).softmax(1).topk(top)  # (B, k)
        labels = torch.from_numpy(dataset.labels[batch]).to(x.device)
        asked = torch.cat([best, labels[:, None]], 1)  # (B, k + 1)
        if method == "gradient":
            return scores, asked, gradient_saliency(net, x, asked)  # (B, k + 1, crop, crop)
        return scores, asked, class_activation_maps(features, net.fc.weight, asked)  # (B, k + 1, h, w)

    def compute(indices: np.ndarray) -> dict[str, np.ndarray]:
        parts = []
        with ThreadPoolExecutor() as pool:
            batches = forward_batches(net, dataset, preset, forward, indices=indices, batch_size=batch_size)
            for batch, (scores, asked, maps) in batches:
                classes = asked.cpu().numpy()
                jobs = zip(maps.float().cpu().numpy(), classes, batch, strict=True)
                found = np.stack(list(pool.map(lambda job: box_maps(*job), jobs)))  # (B, k + 1, T, 4)
                parts.append((classes[:, :-1], scores.cpu().numpy(), found[:, :-1], found[:, -1]))
        names = ("classes", "scores", "boxes", "known_boxes")
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}

    def box_maps(maps: np.ndarray, classes: np.ndarray, i: int) -> np.ndarray:
        """maps (k + 1, h, w), the true class's last -> boxes (k + 1, T, 4) in the original image."""
        same = np.flatnonzero(classes[:-1] == classes[-1])  # the true class is among the best: box its map once
        try:
            boxes = [_box_map(m, fractions, windows[i], dataset.sizes[i]) for m in maps[: -1 if len(same) else None]]
        except ValueError as error:
            raise ValueError(f"{dataset.name}, image {dataset.ids[i]}: {error}") from error
        return np.stack([*boxes, *(boxes[k] for k in same)])

    key = digest(digest_network(net), net.pool, dataset.cache_key, asdict(preset), fractions.tolist(), top, method)
    arrays = run_sharded(f"localize-{dataset.name}-{dataset.split}", key, len(dataset), compute)
    return Localization(thresholds=fractions, **arrays)


def _box_map(heatmap: np.ndarray, fractions: np.ndarray, window: np.ndarray, size: np.ndarray) -> np.ndarray:
    """One map (h, w) -> boxes (T, 4): resized to its window of the original image, thresholded, boxed there."""
    if heatmap.max() <= 0:
        return np.tile([0.0, 0.0, size[0], size[1]], (len(fractions), 1))
    x0, y0, x1, y1 = window
    width, height = max(1, round(x1 - x0)), max(1, round(y1 - y0))
    resized = resize_map(heatmap, (width, height))
    if len(fractions) == 1:
        boxes = largest_component_box(resized, fractions[0])[None]
    else:
        boxes = threshold_boxes(resized, fractions)
    scale = np.array([(x1 - x0) / width, (y1 - y0) / height] * 2)
    return boxes * scale + [x0, y0, x0, y0]


def iterate_maps(
    net: GAPNet, dataset: Dataset, preset: Preset, classes: np.ndarray | None = None, batch_size: int = 64
) -> Iterator[np.ndarray]:
    """The raw map of one class per image, by default the true class's: yields (H, W) float32, one image after another.

    Each is resized to its place in the original image; outside the centre crop it is its minimum or 0, the lower.
    classes (N,) int; or (N, k), k classes per image, which yields (k, H, W).
    """
    chosen = dataset.labels if classes is None else np.asarray(classes)
    asked = torch.from_numpy(chosen.reshape(len(dataset), -1))  # (N, k)
    windows = crop_windows(dataset.sizes, preset).round().astype(int)

    def forward(x: Tensor, batch: np.ndarray) -> np.ndarray:
        return net.predict_with_cam(x, classes=asked[batch].to(x.device))[2].float().cpu().numpy()  # (B, k, h, w)

    for batch, maps in forward_batches(net, dataset, preset, forward, batch_size=batch_size):
        for heatmaps, i in zip(maps, batch, strict=True):
            (width, height), (x0, y0, x1, y1) = dataset.sizes[i], windows[i]
            # Outside the crop nothing was seen: no evidence, and never more than the map's own background.
            canvas = np.empty((len(heatmaps), height, width), np.float32)
            for heatmap, whole in zip(heatmaps, canvas, strict=True):
                resized = resize_map(heatmap, (int(x1 - x0), int(y1 - y0)))
                whole[:] = min(0.0, float(resized.min()))
                whole[y0:y1, x0:x1] = resized
            yield canvas if chosen.ndim == 2 else canvas[0]


def predict_maps(
    net: GAPNet, dataset: Dataset, indices: np.ndarray, preset: Preset, classes: np.ndarray | None = None
) -> list[np.ndarray]:
    """For figures: the raw maps (H, W) of a few images, of `classes` (len(indices),) or each one's best class."""
    few = dataset.subset(indices)
    if classes is None:
        classes = localize(net, few, preset, top=1).classes[:, 0]
    return list(iterate_maps(net, few, preset, classes))


def wrong_over_thresholds(found: Localization, dataset: Dataset) -> dict[str, np.ndarray]:
    """What went wrong, image by image: classification errors (N,), localization errors per threshold (N, T), bool.

    Named "top-1 classification error", "top-5 localization error", "class-known localization error" and so on.
    """
    k = min(5, found.classes.shape[1])
    errors = [
        localization_errors(found.classes, found.boxes[:, :, t], dataset.labels, dataset.boxes)
        for t in range(len(found.thresholds))
    ]
    known = [~correct_boxes(found.known_boxes[:, t], dataset.boxes) for t in range(len(found.thresholds))]
    wrong = {"class-known localization error": np.stack(known, 1)}
    for top in (1, k):
        wrong[f"top-{top} classification error"] = errors[0].cls_wrong[:, top - 1]
        wrong[f"top-{top} localization error"] = np.stack([e.loc_wrong[:, top - 1] for e in errors], 1)
    return wrong


def localize_released(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    *,
    top: int = 5,
    merge: Literal["abs_sum", "mean"] = "abs_sum",
    batch_size: int = 8,
) -> ReleasedLocalization:
    """The released protocol (ten crops, summed absolute maps, 8 bits, three thresholds): PAPER steps 1 to 4, batched.

    Every image is squashed to `preset.squash`; the ten crops of `preset.crop` go through the network together.
    merge: see `cam.merge_ten_crop`. Raises as `localize` does.
    """
    top = min(top, net.fc.out_features)

    def forward(x: Tensor, batch: np.ndarray) -> tuple[Tensor, Tensor]:
        return predict_ten_crop(net, x, preset.crop, top, merge)

    def compute(indices: np.ndarray) -> dict[str, np.ndarray]:
        classes, boxes = [], []
        with ThreadPoolExecutor() as pool:
            batches = forward_batches(net, dataset, preset, forward, indices=indices, batch_size=batch_size, crop=False)
            for batch, (best, maps) in batches:
                classes.append(best.cpu().numpy())
                jobs = zip(maps.cpu().numpy(), batch, strict=True)
                boxes.append(np.stack(list(pool.map(lambda job: box_merged(*job), jobs))))  # (B, k, 2, 4)
        both = np.concatenate(boxes)  # (S, k, 2, 4)
        return {"classes": np.concatenate(classes), "loose": both[:, :, 0], "tight": both[:, :, 1]}

    def box_merged(maps: np.ndarray, i: int) -> np.ndarray:
        try:
            return np.stack([_released_pair(m, dataset.sizes[i]) for m in maps])
        except ValueError as error:
            raise ValueError(f"{dataset.name}, image {dataset.ids[i]}: {error}") from error

    key = digest(digest_network(net), net.pool, dataset.cache_key, asdict(preset), top, merge, "released")
    arrays = run_sharded(f"released-{dataset.name}-{dataset.split}", key, len(dataset), compute, shard=256)
    return ReleasedLocalization(**arrays)


def predict_ten_crop(
    net: GAPNet, x: Tensor, crop: int, top: int, merge: Literal["abs_sum", "mean"] = "abs_sum"
) -> tuple[Tensor, Tensor]:
    """Normalised images x (B, 3, S, S) -> classes (B, k) by the mean softmax of ten crops, merged maps (B, k, S, S)."""
    size = (x.shape[-2], x.shape[-1])
    with torch.no_grad():
        crops = ten_crop(x, crop)  # (B, 10, 3, crop, crop)
        features = net.features(crops.flatten(0, 1))  # (B * 10, K, h, w)
        scores = net.fc(net.pool_features(features)).softmax(1)  # (B * 10, C)
        best = scores.unflatten(0, (-1, 10)).mean(1).topk(top).indices  # (B, k)
        maps = class_activation_maps(features, net.fc.weight, best.repeat_interleave(10, 0))  # (B * 10, k, h, w)
        return best, merge_ten_crop(maps.float().unflatten(0, (-1, 10)), size, crop, merge)


def _released_pair(heatmap: np.ndarray, size: np.ndarray) -> np.ndarray:
    width, height = int(size[0]), int(size[1])
    found = released_boxes(to_8_bit(heatmap, (width, height)))
    if len(found) == 0:
        found = np.array([[0.0, 0.0, width, height]])  # no evidence at all: the whole image, as in the text rule
    return found[[0, min(1, len(found) - 1)]]


def guess_five(found: ReleasedLocalization) -> tuple[np.ndarray, np.ndarray]:
    """The heuristic of Table 3's 37.1 % row: loose and tight box of the two best classes, the loose one of the third.

    -> classes (N, 5), boxes (N, 5, 4). Raises ValueError if fewer than three classes were kept.
    """
    if found.classes.shape[1] < 3:
        raise ValueError(f"{found.classes.shape[1]} classes were kept per image; the five guesses take three")
    order = [0, 0, 1, 1, 2]
    boxes = np.where(np.array([0, 1, 0, 1, 0])[:, None] == 1, found.tight[:, order], found.loose[:, order])
    return found.classes[:, order], boxes


def predict_released_maps(
    net: GAPNet, dataset: Dataset, indices: np.ndarray, preset: Preset, merge: Literal["abs_sum", "mean"] = "abs_sum"
) -> list[np.ndarray]:
    """For figures: the 8-bit maps (H, W) of the released protocol, of each image's best class by ten crops."""
    few = dataset.subset(indices)

    def forward(x: Tensor, batch: np.ndarray) -> np.ndarray:
        return predict_ten_crop(net, x, preset.crop, 1, merge)[1].cpu().numpy()[:, 0]

    batches = forward_batches(net, few, preset, forward, batch_size=8, crop=False)
    return [
        to_8_bit(m, tuple(few.sizes[i].tolist())) for batch, maps in batches for m, i in zip(maps, batch, strict=True)
    ]
