"""The authors' own GoogLeNet-GAP in numbers that they published: one photograph, ten crops, activations and scores.

In the data folder: `authors-googlenet-gap/data_net.mat` and `data_img1.mat`, of the release's MATLAB demonstration.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from camlib.boxes import Boxes, largest_component_box, released_boxes, to_8_bit
from camlib.cam import class_activation_maps, merge_ten_crop
from camlib.store import data_root


class Authors(NamedTuple):
    """The network's last layer, and what it made of one photograph."""

    weight: Tensor  # (1000, 1024) of the linear layer; its bias was not published
    features: Tensor  # (10, 1024, 14, 14) of ten crops
    scores: np.ndarray  # (10, 1000) after the softmax
    names: list[str]  # of the 1,000 classes

    def best_classes(self, top: int = 5) -> np.ndarray:
        """The classes with the highest mean score: (top,)."""
        return np.argsort(-self.scores.mean(0))[:top]

    def merge_maps(self, top: int = 5) -> np.ndarray:
        """The merged maps of the best classes by the released protocol: (top, 256, 256)."""
        asked = torch.from_numpy(self.best_classes(top).copy()).repeat(10, 1)
        maps = class_activation_maps(self.features, self.weight, asked)  # (10, top, 14, 14)
        return merge_ten_crop(maps[None], (256, 256), 224)[0].numpy()

    def box_maps(self, top: int = 5) -> tuple[list[Boxes], list[Boxes]]:
        """Of the merged maps the boxes (4,) of the text's rule, and the release's loose ones."""
        merged = self.merge_maps(top)
        loose = [released_boxes(to_8_bit(heatmap, (256, 256)))[0] for heatmap in merged]
        return [largest_component_box(heatmap) for heatmap in merged], loose


def read_authors() -> Authors | None:
    """Their numbers, or None where the two files are not in the data folder."""
    files = [data_root() / "authors-googlenet-gap" / name for name in ("data_net.mat", "data_img1.mat")]
    if not all(file.is_file() for file in files):
        return None
    net, image = map(loadmat, files)
    features = image["activation_lastconv"].transpose(3, 2, 1, 0)  # MATLAB keeps x first
    scores = image["scores"].reshape(1000, 10).T.astype(np.float64)
    names = [str(name[0]).partition(" ")[2] for name in net["categories"][:, 0]]
    return Authors(torch.from_numpy(net["weights_LR"].T.copy()), torch.from_numpy(features.copy()), scores, names)
