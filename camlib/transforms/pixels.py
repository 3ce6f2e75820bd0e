"""Preprocessing: presets, squash, crops, normalisation; the ImageNet constants stand here."""

import os
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pixels in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (104.0, 117.0, 123.0)  # BGR, of pixels in 0..255 (released prototxts)
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
Geometry = Literal["crop", "whole"]


@dataclass(frozen=True)
class Preset:
    """How an image becomes network input: squash to `squash` x `squash` px, take a `crop` x `crop` crop, normalise.

    mean, std: per channel, in the order of `channels`, of pixels in 0..`pixel_max`.
    """

    squash: int
    crop: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: str = "rgb"  # or "bgr"
    pixel_max: float = 1.0
    interpolation: str = "bilinear"  # of RESAMPLING

    def __post_init__(self) -> None:
        if (
            self.channels not in ("rgb", "bgr")
            or self.interpolation not in RESAMPLING
            or self.pixel_max not in (1, 255)
        ):
            raise ValueError(f"{self}: expected channels rgb or bgr, pixel_max 1 or 255, a known interpolation")
        if not 0 < self.crop <= self.squash or len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError(f"{self}: expected 0 < crop <= squash, and three means and deviations")


def _caffe(squash: int, crop: int) -> Preset:
    return Preset(squash, crop, CAFFE_MEAN, (1.0, 1.0, 1.0), "bgr", 255.0)


PRESETS = {
    "imagenet": Preset(256, 224),  # the paper's 256 squash; centre crop to evaluate, random crop to train
    "imagenet_whole": Preset(224, 224),  # the whole image in one forward pass
    "caffe224": _caffe(256, 224),  # released GoogLeNet-GAP and VGG16-GAP
    "caffe227": _caffe(256, 227),  # released AlexNet*-GAP
    "lite0_whole": Preset(224, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), interpolation="bicubic"),  # EfficientNet-Lite0
    "small": Preset(64, 64),  # drawn data and Tiny-ImageNet, whole
}


def get_preset(name: str) -> Preset:
    """Look up a preset by name; ValueError lists the names there are."""
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def adjust_preset(preset: Preset, geometry: Geometry | None = None, scale: int | None = None) -> Preset:
    """The same preprocessing for another part of the image or another input size.

    geometry: "whole" squashes the whole image to the input size; "crop" keeps the preset's share of the crop.
    scale: the input size in px.
    """
    if geometry not in (None, "crop", "whole"):
        raise ValueError(f"geometry is {geometry!r}; expected 'crop' or 'whole'")
    crop = preset.crop if scale is None else scale
    squash = crop if geometry == "whole" else round(preset.squash * crop / preset.crop)
    return replace(preset, squash=squash, crop=crop)


def crop_preset(preset: Preset, squash: int = 0) -> Preset:
    """The preset for ten crops: images squashed to `squash` px; 0 leaves the preset as it is."""
    return replace(preset, squash=squash) if squash else preset


def squash_image(image: Image.Image, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Resize to size x size px whatever the aspect (PIL) -> uint8 (3, size, size), RGB."""
    image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), RESAMPLING[interpolation])
    return np.array(image).transpose(2, 0, 1)


def normalize_images(images: Tensor, preset: Preset) -> Tensor:
    """uint8 RGB images (B, 3, H, W) -> float32 network input, as the preset says."""
    x = images.float() / (255 / preset.pixel_max)
    x = x.flip(1) if preset.channels == "bgr" else x
    mean, std = x.new_tensor(preset.mean), x.new_tensor(preset.std)
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def pick_device() -> torch.device:
    """Where networks run: an NVIDIA GPU, else Apple's (MPS, which has no float64), else the CPU.

    Of several GPUs each process of torchrun takes its own. Raises ValueError where there are more processes than GPUs.
    """
    if torch.cuda.is_available():
        process, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if process >= count:
            raise ValueError(f"process {process + 1} of this machine has no GPU: there are {count}; start {count}")
        return torch.device("cuda", process)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def centre_crop(images: Tensor, crop: int) -> Tensor:
    """(B, 3, S, S) -> (B, 3, crop, crop), the offset rounded down."""
    offset = (images.shape[-1] - crop) // 2
    return images[..., offset : offset + crop, offset : offset + crop]


def random_crop_mirror(
    images: Tensor, crop: int, generator: torch.Generator, share: tuple[int, int] = (0, 1)
) -> Tensor:
    """A random crop and a random mirror for each image: uint8 (B, 3, S, S) -> (B, 3, crop, crop).

    Where the crop is as large as the image (small images) it moves by up to S/16 px over edge-replicated borders.
    share (i, n): the images are every n-th of a batch from i on, and get what they get in the whole batch.
    """
    pad = images.shape[-1] // 16 if crop == images.shape[-1] else 0
    room = images.shape[-1] + 2 * pad - crop + 1
    first, step = share
    y, x = torch.randint(room, (2, len(images) * step), generator=generator)[:, first::step]
    mirror = torch.rand(len(images) * step, generator=generator)[first::step] < 0.5
    steps = torch.arange(crop)
    rows = (y[:, None] + steps - pad).clamp(0, images.shape[-2] - 1)  # (B, crop)
    columns = x[:, None] + torch.where(mirror[:, None], steps.flip(0), steps) - pad
    columns = columns.clamp(0, images.shape[-1] - 1)
    rows, columns = rows.to(images.device), columns.to(images.device)
    picked = images.permute(0, 2, 3, 1)[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)  # (B, 3, crop, crop)


def crop_windows(sizes: np.ndarray, preset: Preset) -> np.ndarray:
    """Where the centre crop lies in images of sizes (N, 2) as (width, height) -> (N, 4) boxes in original pixels."""
    offset = (preset.squash - preset.crop) // 2
    corners = np.array([offset, offset, offset + preset.crop, offset + preset.crop]) / preset.squash
    return np.tile(sizes, 2) * corners
