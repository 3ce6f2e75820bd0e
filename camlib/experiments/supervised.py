"""What boxes would add: a box regressed from the same features by images with true boxes (the bound of Table 3)."""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from camlib._memory import return_freed
from camlib.boxes import centre_box
from camlib.datasets.base import Dataset
from camlib.evaluate import forward_batches
from camlib.metrics import correct_boxes, fit_centre_fraction
from camlib.models import digest_network
from camlib.stats import compare
from camlib.store import digest, run_sharded
from camlib.train import Network
from camlib.transforms import crop_windows

STRENGTHS = np.logspace(0, 7, 15)  # of the penalty, chosen by leave-one-out among the images that are learnt from
MOST = 1000  # images that a fold learns from


def regress_boxes(network: Network, images: Dataset, seed: int = 0) -> NDArray[np.float64]:
    """One box per image (N, 4), by ridge regression from the last feature maps; each half learns from the other.

    The target is the largest true box, in fractions of what the network sees. Excluded images teach nothing.
    """
    net, preset, *_ = network
    windows = crop_windows(images.sizes, preset)  # (N, 4)
    sides = np.tile(windows[:, 2:] - windows[:, :2], 2)
    truth = np.stack([boxes[np.prod(boxes[:, 2:] - boxes[:, :2], 1).argmax()] for boxes in images.boxes])
    target = (truth - np.tile(windows[:, :2], 2)) / sides
    halves = np.array_split(np.random.default_rng(seed).permutation(len(images)), 2)

    def forward(x: Tensor, batch: NDArray) -> NDArray[np.float32]:
        return net.features(x).flatten(1).float().cpu().numpy()

    def read_features(indices: NDArray) -> Iterator[NDArray[np.float32]]:
        found = forward_batches(net, images, preset, forward, indices=indices, batch_size=16)  # lean beside the fit
        return (x for _, x in found)

    boxes = np.empty((len(images), 4))
    for learn, predict in (halves, halves[::-1]):
        chosen = np.sort(learn[~images.excluded[learn]][:MOST])
        key = digest(digest_network(net), images.cache_key, asdict(preset), chosen.tolist(), predict.tolist())
        fitted: list[Pipeline] = []

        def compute(indices: NDArray, chosen=chosen, predict=predict, fitted=fitted) -> dict[str, NDArray]:  # type: ignore[no-untyped-def]
            if not fitted:
                ridge = make_pipeline(StandardScaler(copy=False), RidgeCV(STRENGTHS))
                # In the precision that the ridge wants: it would make a copy of its own.
                features = np.concatenate(list(read_features(chosen)), dtype=np.float64)
                return_freed()  # the batches: the fit needs as much again
                fitted.append(ridge.fit(features, target[chosen]))
            # Batch by batch: the features of a shard are a gigabyte with its copies.
            return {"boxes": np.concatenate([fitted[0].predict(x) for x in read_features(predict[indices])])}

        boxes[predict] = run_sharded(f"regressed-{images.name}-{images.split}", key, len(predict), compute)["boxes"]
    boxes = boxes * sides + np.tile(windows[:, :2], 2)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    return np.clip(np.concatenate([low, high], 1), 0, np.tile(images.sizes, 2))


def name_fit(boxes: NDArray[np.float64], images: Dataset) -> str:
    """The row's name: a regression that does not beat the best centre box learnt nothing, and is called so."""
    centre = centre_box(images.sizes, fit_centre_fraction(images.sizes, images.boxes))
    found = compare(correct_boxes(boxes, images.boxes), correct_boxes(centre, images.boxes))
    return "box regression, trained on boxes" + (found.verdict != "better") * " (failed fit)"
