"""The one loop that puts a network on a device and runs it over a dataset."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from camlib._memory import return_freed
from camlib.datasets.base import Dataset
from camlib.models import GAPNet
from camlib.transforms import Preset, centre_crop, iterate_batches, normalize_images, pick_device

Output = TypeVar("Output")


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
    The network is back on its device when the loop ends, and stays in the channels_last layout. Raises what the dataset
    raises for a bad image.
    """
    home, device = next(net.parameters()).device, pick_device()
    net.to(device).to(memory_format=torch.channels_last).eval()  # convolutions on a CPU are up to twice as fast
    try:
        for batch, images in iterate_batches(dataset, preset, batch_size, indices):
            images = centre_crop(images, preset.crop) if crop else images
            with torch.no_grad():
                output = compute(normalize_images(images.to(device), preset), batch)
            yield batch, output
    finally:
        net.to(home)
        return_freed()
