"""Ten crops and the released code's rule: classes, merged maps and pairs of boxes, resumable shard by shard."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from camlib.boxes import released_boxes, to_8_bit
from camlib.cam import class_activation_maps, merge_ten_crop, ten_crop
from camlib.datasets.base import Dataset
from camlib.datasets.parsing import measure_sizes
from camlib.evaluate.forward import forward_batches
from camlib.models import GAPNet, digest_network
from camlib.store import digest, run_sharded
from camlib.transforms import Preset


@dataclass
class ReleasedLocalization:
    """The released protocol for a dataset of N images: two boxes for each of the five best classes."""

    classes: np.ndarray  # (N, k) int64, ranked by the mean score of ten crops
    loose: np.ndarray  # (N, k, 4) float64, `bbox1`: the largest box
    tight: np.ndarray  # (N, k, 4) float64, `bbox2`: the next one kept (the loose one where there is no other)


def localize_released(
    net: GAPNet,
    dataset: Dataset,
    preset: Preset,
    *,
    top: int = 5,
    merge: Literal["abs_sum", "mean"] = "abs_sum",
    batch_size: int = 8,
) -> ReleasedLocalization:
    """The released protocol (ten crops, summed absolute maps, 8 bits, three thresholds), batched.

    Every image is squashed to `preset.squash`; the ten crops of `preset.crop` go through the network together.
    merge: see `cam.merge_ten_crop`. Raises as `localize` does.
    """
    dataset, top = measure_sizes(dataset), min(top, net.fc.out_features)

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
    arrays = run_sharded(
        f"released-{dataset.name}-{dataset.split}", key, len(dataset), compute, 256, ("classes", "loose", "tight")
    )
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
    few = measure_sizes(dataset.subset(indices))

    def forward(x: Tensor, batch: np.ndarray) -> np.ndarray:
        return predict_ten_crop(net, x, preset.crop, 1, merge)[1].cpu().numpy()[:, 0]

    batches = forward_batches(net, few, preset, forward, batch_size=8, crop=False)
    return [
        to_8_bit(m, tuple(few.sizes[i].tolist())) for batch, maps in batches for m, i in zip(maps, batch, strict=True)
    ]
