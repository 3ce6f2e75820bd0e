"""One crop per image and the text's rule: classes, maps and boxes of a dataset, resumable shard by shard."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from camlib._kernels import THREADS
from camlib.boxes import box_enlarged_maps
from camlib.cam import class_activation_maps, compare_class_maps, resize_map
from camlib.datasets.base import Dataset
from camlib.datasets.parsing import measure_sizes
from camlib.evaluate.forward import forward_batches
from camlib.metrics import MapExtent, correct_over_thresholds, localization_errors, map_extent, sweep_hits
from camlib.models import GAPNet, digest_network
from camlib.saliency import gradient_saliency, smooth_maps
from camlib.store import digest, run_sharded
from camlib.transforms import Preset, crop_windows

KEPT = 64  # whole maps that wait to be measured


@dataclass
class Localization:
    """Boxes of the text rule for a dataset of N images."""

    thresholds: np.ndarray  # (T,) fractions of a map's maximum
    classes: np.ndarray  # (N, k) int64, best first
    scores: np.ndarray  # (N, k) float32, softmax
    boxes: np.ndarray  # (N, k, T, 4) float64, of the predicted classes, pixels of the original image
    known_boxes: np.ndarray  # (N, T, 4) float64, of the true class ("class-known localization")
    unbiased: np.ndarray  # (N,) int64, the best class if the linear layer's bias were 0
    correlation: np.ndarray  # (N,) float32, of the predicted classes' maps, see `cam.compare_class_maps`; 0 for one
    overlap: np.ndarray  # (N,) float32, likewise

    def guesses(self, threshold: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
        """Classes (N, k) and their boxes (N, k, 4) at the threshold nearest to the one asked for."""
        return self.classes, self.boxes[:, :, np.abs(self.thresholds - threshold).argmin()]

    def guess_box(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same classes with one box per image, boxes (N, 4), for all of them: a baseline."""
        return self.classes, np.repeat(boxes[:, None], self.classes.shape[1], axis=1)

    def known(self, threshold: float = 0.2) -> np.ndarray:
        """The true class's boxes (N, 4) at the threshold nearest to the one asked for."""
        return self.known_boxes[:, np.abs(self.thresholds - threshold).argmin()]


def localize(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    *,
    top: int = 5,
    thresholds: Iterable[float] = (0.2,),
    method: Literal["cam", "gradient"] = "cam",
    smooth: float = 0,
    batch_size: int = 64,
) -> Localization:
    """Classes and text-rule boxes for every image (paper, Sections 2 and 3.2).

    Each image's centre crop goes through the network once. The maps of the `top` best classes and of the true class are
    resized to the crop's place in the original image, kept above each of `thresholds` x their maximum, and boxed. A map
    with no positive value boxes the whole image. method: "cam", or "gradient" for the saliency baseline, whose maps a
    Gaussian of `smooth` px of the network's input smooths first.
    Raises what the dataset raises for a bad image, and ValueError naming the image whose map is not finite.
    """
    dataset, fractions = measure_sizes(dataset), np.asarray(list(thresholds), float)
    top = min(top, net.fc.out_features)
    windows = crop_windows(dataset.sizes, preset)
    names = ("classes", "scores", "boxes", "known_boxes", "unbiased", "correlation", "overlap")

    def forward(x: Tensor, batch: np.ndarray) -> tuple[Tensor, ...]:
        features = net.features(x)  # (B, K, h, w)
        pooled = net.pool_features(features)
        scores, best = net.fc(pooled).softmax(1).topk(top)  # (B, k)
        labels = torch.from_numpy(dataset.labels[batch]).to(x.device)
        asked = torch.cat([best, labels[:, None]], 1)  # (B, k + 1)
        if method == "gradient":
            maps = smooth_maps(gradient_saliency(net, x, asked), smooth)  # (B, k + 1, crop, crop)
        else:
            maps = class_activation_maps(features, net.fc.weight, asked)  # (B, k + 1, h, w)
        alike = compare_class_maps(maps[:, :top]) if top > 1 else (scores.new_zeros(len(x)),) * 2
        return asked, maps, scores, F.linear(pooled, net.fc.weight).argmax(1), *alike

    def compute(indices: np.ndarray) -> dict[str, np.ndarray]:
        parts = []
        with ThreadPoolExecutor(THREADS) as pool:
            batches = forward_batches(net, dataset, preset, forward, indices=indices, batch_size=batch_size)
            for batch, (asked, maps, *others) in batches:
                classes = asked.cpu().numpy()
                jobs = zip(maps.float().cpu().numpy(), classes, batch, strict=True)
                found = np.stack(list(pool.map(lambda job: box_maps(*job), jobs)))  # (B, k + 1, T, 4)
                scores, *rest = (other.cpu().numpy() for other in others)
                parts.append((classes[:, :-1], scores, found[:, :-1], found[:, -1], *rest))
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}

    def box_maps(maps: np.ndarray, classes: np.ndarray, i: int) -> np.ndarray:
        """maps (k + 1, h, w), the true class's last -> boxes (k + 1, T, 4) in the original image."""
        same = np.flatnonzero(classes[:-1] == classes[-1])  # the true class is among the best: box its map once
        try:
            boxes = _box_maps(maps[: -1 if len(same) else None], fractions, windows[i], dataset.sizes[i])
        except ValueError as error:
            raise ValueError(f"{dataset.name}, image {dataset.ids[i]}: {error}") from error
        return np.concatenate([boxes, boxes[same]])

    key = digest(
        digest_network(net), net.pool, dataset.cache_key, asdict(preset), fractions.tolist(), top, method, smooth
    )
    arrays = run_sharded(f"localize-{dataset.name}-{dataset.split}", key, len(dataset), compute, names=names)
    return Localization(thresholds=fractions, **arrays)


def _box_maps(maps: np.ndarray, fractions: np.ndarray, window: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Maps (k, h, w) -> boxes (k, T, 4): as large as their window of the original image, thresholded, boxed there."""
    x0, y0, x1, y1 = window
    width, height = max(1, round(x1 - x0)), max(1, round(y1 - y0))
    scale = np.array([(x1 - x0) / width, (y1 - y0) / height] * 2)
    boxes = box_enlarged_maps(maps, (width, height), fractions) * scale + [x0, y0, x0, y0]
    boxes[maps.max((1, 2)) <= 0] = [0, 0, *size]
    return boxes


def iterate_maps(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    classes: np.ndarray | None = None,
    method: Literal["cam", "gradient"] = "cam",
    batch_size: int = 64,
    indices: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """The raw map of one class per image, by default the true class's: yields (H, W) float32, one image after another.

    Each is resized to its place in the original image; outside the centre crop it is its minimum or 0, the lower.
    classes (N,) int; or (N, k), k classes per image, which yields (k, H, W). indices: of which images, by default all.
    """
    dataset = measure_sizes(dataset)
    chosen = dataset.labels if classes is None else np.asarray(classes)
    asked = torch.from_numpy(chosen.reshape(len(dataset), -1))  # (N, k)
    windows = crop_windows(dataset.sizes, preset).round().astype(int)

    def forward(x: Tensor, batch: np.ndarray) -> np.ndarray:
        wanted = asked[batch].to(x.device)
        maps = gradient_saliency(net, x, wanted) if method == "gradient" else net.predict_with_cam(x, classes=wanted)[2]
        return maps.float().cpu().numpy()  # (B, k, h, w)

    for batch, maps in forward_batches(net, dataset, preset, forward, indices=indices, batch_size=batch_size):
        for heatmaps, i in zip(maps, batch, strict=True):
            (width, height), (x0, y0, x1, y1) = dataset.sizes[i], windows[i]
            # Outside the crop nothing was seen: no evidence, and never more than the map's own background.
            canvas = np.empty((len(heatmaps), height, width), np.float32)
            for heatmap, whole in zip(heatmaps, canvas, strict=True):
                resized = resize_map(heatmap, (int(x1 - x0), int(y1 - y0)))
                whole[:] = min(0.0, float(resized.min()))
                whole[y0:y1, x0:x1] = resized
            yield canvas if chosen.ndim == 2 else canvas[0]


class MapMeasures(NamedTuple):
    """How the true class's whole maps lie on the true boxes of N images."""

    extent: np.ndarray  # (N, 3): `metrics.MapExtent` above 20 % of the maximum
    largest: np.ndarray  # (N, 1, 256) bool: `metrics.box_hits` of the largest component, IoU 0.5
    best: np.ndarray  # (N, 3, 256) bool: of any component, IoU 0.3, 0.5, 0.7


def measure_maps(net: GAPNet, dataset: Dataset, preset: Preset) -> MapMeasures:
    """Measure the true class's map of every image, in one pass, shard by shard."""

    def measure(heatmap: np.ndarray, boxes: np.ndarray) -> tuple[MapExtent, np.ndarray, np.ndarray]:
        largest, best = sweep_hits(heatmap, boxes, (0.3, 0.5, 0.7))
        return map_extent(heatmap, boxes), largest[1:2], best

    def compute(indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = []
        with ThreadPoolExecutor(THREADS) as pool:
            pending: deque[Future[tuple[MapExtent, np.ndarray, np.ndarray]]] = deque()
            for heatmap, boxes in zip(
                iterate_maps(net, dataset, preset, indices=indices), (dataset.boxes[i] for i in indices), strict=True
            ):
                pending.append(pool.submit(measure, heatmap, boxes))
                if len(pending) > KEPT:
                    rows.append(pending.popleft().result())
            rows.extend(job.result() for job in pending)
        arrays = (np.array(column) for column in zip(*rows, strict=True))
        return dict(zip(MapMeasures._fields, arrays, strict=True))

    key = digest(digest_network(net), net.pool, dataset.cache_key, asdict(preset))
    label = f"maps-{dataset.name}-{dataset.split}"
    return MapMeasures(**run_sharded(label, key, len(dataset), compute, names=MapMeasures._fields))


def predict_maps(
    net: GAPNet,
    dataset: Dataset,
    indices: np.ndarray,
    preset: Preset,
    classes: np.ndarray | None = None,
    method: Literal["cam", "gradient"] = "cam",
) -> list[np.ndarray]:
    """For figures: the raw maps (H, W) of a few images, of `classes` (len(indices),) or each one's best class."""
    few = dataset.subset(indices)
    if classes is None:
        classes = localize(net, few, preset, top=1).classes[:, 0]
    return list(iterate_maps(net, few, preset, classes, method))


def wrong_over_thresholds(found: Localization, dataset: Dataset) -> dict[str, np.ndarray]:
    """What went wrong, image by image: classification errors (N,), localization errors per threshold (N, T), bool.

    Named "top-1 classification error", "top-5 localization error", "class-known localization error" and so on.
    """
    k = min(5, found.classes.shape[1])
    errors = [
        localization_errors(found.classes, found.boxes[:, :, t], dataset.labels, dataset.boxes)
        for t in range(len(found.thresholds))
    ]
    wrong = {"class-known localization error": ~correct_over_thresholds(found.known_boxes, dataset.boxes)}
    for top in (1, k):
        wrong[f"top-{top} classification error"] = errors[0].cls_wrong[:, top - 1]
        wrong[f"top-{top} localization error"] = np.stack([e.loc_wrong[:, top - 1] for e in errors], 1)
    return wrong
