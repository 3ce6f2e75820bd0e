"""Ten crops and the released code's rule: classes, merged maps and pairs of boxes, resumable shard by shard."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from camlib._kernels import THREADS
from camlib.boxes import largest_component_box, released_boxes, to_8_bit
from camlib.cam import CENTRE, class_activation_maps, merge_one_crop, merge_ten_crop, resize_map, ten_crop
from camlib.datasets.base import Dataset
from camlib.datasets.parsing import measure_sizes
from camlib.evaluate.forward import forward_batches
from camlib.models import GAPNet, digest_network
from camlib.saliency import gradient_saliency
from camlib.store import digest, run_sharded
from camlib.transforms import Preset


@dataclass
class ReleasedLocalization:
    """The released protocol for a dataset of N images: two boxes for each of the five best classes."""

    classes: np.ndarray  # (N, k) int64, ranked by the mean score of the crops
    loose: np.ndarray  # (N, k, 4) float64, `bbox1`: the largest box
    tight: np.ndarray  # (N, k, 4) float64, `bbox2`: the next one kept (the loose one where there is no other)
    text: np.ndarray  # (N, k, 4) float64, the text's rule on the same merged map: above 20 %, the largest component


Merge = Literal["abs_sum", "mean"]
Way = tuple[int, Merge]  # how a map is made: of 1 or 10 crops, absolute or signed
RELEASED_WAY: Way = (10, "abs_sum")
WAYS: tuple[Way, ...] = ((1, "mean"), (1, "abs_sum"), (10, "mean"), RELEASED_WAY)


def localize_released(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    *,
    top: int = 5,
    merge: Merge = "abs_sum",
    method: Literal["cam", "gradient"] = "cam",
    batch_size: int = 8,
) -> ReleasedLocalization:
    """The released protocol (ten crops, summed absolute maps, 8 bits, three thresholds), batched.

    Every image is squashed to `preset.squash`; the ten crops of `preset.crop` go through the network together.
    merge: see `cam.merge_ten_crop`. method: "cam", or "gradient" for the paper's Backprop rows, which went through the
    same crops, merge and boxes. Raises as `localize` does.
    """
    return localize_ways(net, dataset, preset, [(10, merge)], top=top, method=method, batch_size=batch_size)[10, merge]


def localize_ways(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    ways: Sequence[Way] = WAYS,
    *,
    top: int = 5,
    method: Literal["cam", "gradient"] = "cam",
    batch_size: int = 8,
) -> dict[Way, ReleasedLocalization]:
    """`localize_released` with its parts exchanged: one or ten crops, absolute or signed maps; one forward pass.

    One crop is the centre's; the image outside it gets no evidence. Raises as `localize` does.
    """
    dataset, top = measure_sizes(dataset), min(top, net.fc.out_features)

    def forward(x: Tensor, batch: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        return predict_ways(net, x, preset.crop, top, ways, method)

    def compute(indices: np.ndarray) -> dict[str, np.ndarray]:
        classes, boxes = [], []
        with ThreadPoolExecutor(THREADS) as pool:
            batches = forward_batches(net, dataset, preset, forward, indices=indices, batch_size=batch_size, crop=False)
            for batch, found in batches:
                classes.append(np.stack([best.cpu().numpy() for best, _ in found], 1))  # (B, W, k)
                maps = np.stack([merged.cpu().numpy() for _, merged in found], 1)  # (B, W, k, S, S)
                boxes.append(np.stack(list(pool.map(box_maps, maps, batch))))  # (B, W, k, 3, 4)
        return {"classes": np.concatenate(classes), "boxes": np.concatenate(boxes)}

    def box_maps(maps: np.ndarray, i: int) -> np.ndarray:
        try:
            return np.stack([[_box_merged(m, dataset.sizes[i]) for m in of_way] for of_way in maps])
        except ValueError as error:
            raise ValueError(f"{dataset.name}, image {dataset.ids[i]}: {error}") from error

    key = digest(digest_network(net), net.pool, dataset.cache_key, asdict(preset), top, list(ways), method, "released")
    label = f"released-{dataset.name}-{dataset.split}"
    arrays = run_sharded(label, key, len(dataset), compute, 256, ("classes", "boxes"))
    return {
        way: ReleasedLocalization(arrays["classes"][:, w], *np.moveaxis(arrays["boxes"][:, w], 2, 0))
        for w, way in enumerate(ways)
    }


def predict_ways(
    net: GAPNet, x: Tensor, crop: int, top: int, ways: Sequence[Way], method: Literal["cam", "gradient"] = "cam"
) -> list[tuple[Tensor, Tensor]]:
    """Normalised images x (B, 3, S, S) -> for each way classes (B, k) by the mean softmax, merged maps (B, k, S, S)."""
    size = (x.shape[-2], x.shape[-1])
    crops = ten_crop(x, crop)  # (B, 10, 3, crop, crop)
    with torch.no_grad():
        features = net.features(crops.flatten(0, 1))  # (B * 10, K, h, w)
        scores = net.fc(net.pool_features(features)).softmax(1).unflatten(0, (-1, 10))  # (B, 10, C)
    centre = scores[:, CENTRE : CENTRE + 1]

    def draw_maps(best: Tensor) -> Tensor:  # (B, k) -> (B, 10, k, h, w)
        asked = best.repeat_interleave(10, 0)
        if method == "cam":
            maps = class_activation_maps(features, net.fc.weight, asked)
        else:
            maps = gradient_saliency(net, crops.flatten(0, 1), asked)
        return maps.detach().float().unflatten(0, (-1, 10))

    best = {count: (centre if count == 1 else scores).mean(1).topk(top).indices for count, _ in ways}
    maps = {count: draw_maps(classes) for count, classes in best.items()}
    merged = {
        (count, merge): merge_ten_crop(maps[10], size, crop, merge)
        if count == 10
        else merge_one_crop(maps[1][:, CENTRE], size, crop, merge)
        for count, merge in ways
    }
    return [(best[way[0]], merged[way]) for way in ways]


def _box_merged(heatmap: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Loose, tight and text-rule box of a merged map (S, S), in pixels of the image of this size: (3, 4)."""
    width, height = int(size[0]), int(size[1])
    resized = resize_map(heatmap, (width, height))
    found = released_boxes(to_8_bit(resized, (width, height)))  # of this size already: a copy
    return np.stack([found[0], found[min(1, len(found) - 1)], largest_component_box(resized, 0.2)])


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
    net: GAPNet, dataset: Dataset, indices: np.ndarray, preset: Preset, merge: Merge = "abs_sum"
) -> list[np.ndarray]:
    """For figures: the 8-bit maps (H, W) of the released protocol, of each image's best class by ten crops."""
    few = measure_sizes(dataset.subset(indices))

    def forward(x: Tensor, batch: np.ndarray) -> np.ndarray:
        return predict_ways(net, x, preset.crop, 1, [(10, merge)])[0][1].cpu().numpy()[:, 0]

    batches = forward_batches(net, few, preset, forward, batch_size=8, crop=False)
    return [
        to_8_bit(m, tuple(few.sizes[i].tolist())) for batch, maps in batches for m, i in zip(maps, batch, strict=True)
    ]
