"""Files to boxes against decoding plus plain forward passes, in one run: the text's protocol and the released one.

Prints ratios of wall time, each the median of several alternating repeats. The targets are 1.10 and 1.15.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from camlib import evaluate, transforms
from camlib.cam import ten_crop
from camlib.datasets import Dataset
from camlib.models import build_model

IMAGES, BATCH, REPEATS = 96, 32, 5


def draw_photographs(folder: Path) -> Dataset:
    """Smooth random JPEGs of 500x375, the median size of ILSVRC."""
    rng = np.random.default_rng(0)
    files = [folder / f"{i:03d}.jpg" for i in range(IMAGES)]
    for file in files:
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(file, quality=90)
    return Dataset(
        name="drawn", split="val", ids=[f.stem for f in files], labels=np.arange(IMAGES), source="drawn",
        classes=[str(i) for i in range(IMAGES)], class_names=[str(i) for i in range(IMAGES)],
        boxes=[np.array([[0.0, 0.0, 500.0, 375.0]])] * IMAGES, sizes=np.tile([500, 375], (IMAGES, 1)),
        files=[str(f) for f in files],
    )  # fmt: skip


def compare(name: str, ours: Callable[[], object], plain: Callable[[], object]) -> None:
    """Time both in turn and print the ratio of the medians."""
    ours(), plain()
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(REPEATS):
        for label, function in (("ours", ours), ("plain", plain)):
            started = time.perf_counter()
            function()
            seconds[label].append(time.perf_counter() - started)
    a, b = (1000 * statistics.median(seconds[label]) / IMAGES for label in ("ours", "plain"))
    print(f"{name}: {a:.1f} ms an image against {b:.1f} ms of decoding + forward: {a / b:.3f}x")


def main() -> None:
    """Both comparisons with ResNet-18 at 224 px."""
    torch.manual_seed(0)
    net = build_model("resnet18").to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    preset = transforms.get_preset("imagenet")
    transforms.CACHE_SHARE = 0  # decode in every pass
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        folder = Path(temporary)
        photographs = draw_photographs(folder)
        evaluate.run_sharded = lambda label, key, n, compute, shard=0: compute(np.arange(n))  # type: ignore[assignment]

        def forward() -> None:
            for _, images in transforms.iterate_batches(photographs, preset, BATCH):
                net(transforms.normalize_images(transforms.centre_crop(images, preset.crop), preset))

        def forward_ten() -> None:
            for _, images in transforms.iterate_batches(photographs, preset, 8):
                net(ten_crop(transforms.normalize_images(images, preset), preset.crop).flatten(0, 1))

        compare(
            "top-5 maps and boxes (text rule)",
            lambda: evaluate.localize(net, photographs, preset, batch_size=BATCH),
            forward,
        )
        compare(
            "ten crops, maps and boxes (released)",
            lambda: evaluate.localize_released(net, photographs, preset, batch_size=8),
            forward_ten,
        )


if __name__ == "__main__":
    main()
