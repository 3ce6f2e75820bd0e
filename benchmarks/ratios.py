"""What camlib does beside what others do, as ratios of wall time measured in one run: one Markdown table.

    python benchmarks/ratios.py [images]

Each pair runs in turn on the same inputs; a ratio is of the medians. Photographs are smooth random JPEGs of 500x375
px, the median size of ILSVRC; the network is ResNet-18 at 224 px. Peers: torch-cam, pytorch-grad-cam, OpenCV, scipy,
the thresholds of Choe et al.'s evaluation, torchvision's reference loader.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy import ndimage
from torch.utils.data import DataLoader
from torchcam.methods import CAM
from torchvision import models
from torchvision.transforms import v2

from camlib import evaluate, features, transforms
from camlib.boxes import box_enlarged_maps, released_boxes, threshold_boxes
from camlib.cam import ten_crop
from camlib.datasets import Dataset
from camlib.metrics import map_extent, max_box_accuracy, sweep_hits
from camlib.models.adapters import adapt_torchvision

SIZE, BATCH, REPEATS, MAPS = (500, 375), 32, 5, 20
THRESHOLDS = np.linspace(0, 0.6, 61)
Job = Callable[[], object]


def draw_photographs(folder: Path, count: int) -> Dataset:
    """Smooth random JPEGs, one class each, the whole picture as box."""
    rng = np.random.default_rng(0)
    files = [folder / f"{i:04d}.jpg" for i in range(count)]
    for file in files:
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(file, quality=90)
    names = [str(i) for i in range(1000)]
    return Dataset(
        name="drawn", split="val", ids=[f.stem for f in files], labels=np.arange(count) % 1000, source="drawn",
        classes=names, class_names=names, boxes=[np.array([[0.0, 0.0, *SIZE]])] * count,
        sizes=np.tile(SIZE, (count, 1)), files=[str(f) for f in files],
    )  # fmt: skip


def compare(work: str, jobs: dict[str, Job]) -> None:
    """Time the jobs in turn; a row of the table for each but the last, which is what they are measured against."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(REPEATS + 1):  # the first compiles and fills caches
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    *names, base = jobs
    medians = {name: statistics.median(seconds[name]) for name in jobs}
    for name in names:
        print(f"| {work} | {name} | {base} | {medians[name] / medians[base]:.3f} |", flush=True)


def box_by_opencv(heatmap: np.ndarray, threshold: float = 0.2) -> np.ndarray:
    """The usual lines: enlarge, threshold, the largest component."""
    enlarged = cv2.resize(heatmap, SIZE)
    mask = (enlarged > threshold * enlarged.max()).astype(np.uint8)
    stats = cv2.connectedComponentsWithStats(mask, connectivity=8)[2]
    return stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax(), :4] if len(stats) > 1 else np.array([0, 0, *SIZE])


def compare_files_to_boxes(photographs: Dataset) -> None:
    preset = transforms.get_preset("imagenet")
    own = models.resnet18().eval()
    net = adapt_torchvision("resnet18", own, "avg").to(memory_format=torch.channels_last).eval()

    def batches(size: int = BATCH) -> list[torch.Tensor]:
        decoded = transforms.iterate_batches(photographs, preset, size)
        return [transforms.normalize_images(images, preset) for _, images in decoded]

    def forward() -> None:
        with torch.no_grad():
            for x in batches():
                net(transforms.centre_crop(x, preset.crop))

    def forward_ten() -> None:
        with torch.no_grad():
            for x in batches(8):
                net(ten_crop(x, preset.crop).flatten(0, 1))

    def torch_cam() -> None:
        with CAM(own, "layer4", "fc") as extractor, torch.no_grad():
            for x in batches():
                scores = own(transforms.centre_crop(x, preset.crop))
                for best in scores.topk(5).indices.T:
                    for heatmap in extractor(best.tolist(), scores)[0]:
                        box_by_opencv(heatmap.numpy())

    def grad_cam() -> None:
        with GradCAM(own, [own.layer4]) as extractor:
            for x in batches():
                for heatmap in extractor(transforms.centre_crop(x, preset.crop), [ClassifierOutputTarget(0)] * len(x)):
                    box_by_opencv(heatmap)

    compare(
        "files to boxes of the 5 best classes",
        {
            "camlib": lambda: evaluate.localize(net, photographs, preset, batch_size=BATCH),
            "torch-cam and OpenCV": torch_cam,
            "grad-cam and OpenCV, 1 class": grad_cam,
            "decoding and forward passes": forward,
        },
    )
    compare(
        "files to boxes by ten crops",
        {
            "camlib": lambda: evaluate.localize_released(net, photographs, preset, batch_size=8),
            "decoding and forward passes": forward_ten,
        },
    )
    compare(
        "files to pooled features",
        {
            "camlib": lambda: features.extract_features(net, photographs, preset, batch_size=BATCH),
            "decoding and forward passes": forward,
        },
    )


def compare_maps() -> None:
    """On one core."""
    rng = np.random.default_rng(0)
    small = cv2.GaussianBlur(rng.random((14, 14, MAPS)), (5, 5), 1).transpose(2, 0, 1).astype(np.float32).copy()
    enlarged = [cv2.resize(m, SIZE) for m in small]
    bytes_ = [np.uint8(255 * (m - m.min()) / (m.max() - m.min())) for m in enlarged]
    truth = np.array([[50.0, 40.0, 380.0, 270.0], [10.0, 10.0, 90.0, 120.0]])

    def measure_once() -> None:
        for m in bytes_:
            sweep_hits(m, truth, (0.3, 0.5, 0.7))
            map_extent(m, truth)

    def measure_thrice() -> None:
        max_box_accuracy(bytes_, [truth] * MAPS, (0.5,))
        max_box_accuracy(bytes_, [truth] * MAPS, components="best")
        for m in bytes_:
            map_extent(m, truth)

    def threshold_again_and_again() -> None:
        for m in bytes_:
            for fraction in np.arange(1000) / 1000:
                mask = cv2.threshold(m, int(fraction * m.max()), 255, cv2.THRESH_BINARY)[1]
                cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)

    compare(
        "a box at 20 % of a map at image size",
        {
            "camlib": lambda: box_enlarged_maps(small, SIZE, [0.2]),
            "OpenCV": lambda: [box_by_opencv(m) for m in small],
        },
    )
    compare(
        "boxes at 61 thresholds",
        {
            "camlib": lambda: box_enlarged_maps(small, SIZE, THRESHOLDS),
            "camlib, every pixel": lambda: [threshold_boxes(cv2.resize(m, SIZE), THRESHOLDS) for m in small],
            "OpenCV": lambda: [box_by_opencv(m, t) for m in small for t in THRESHOLDS],
        },
    )
    compare(
        "MaxBoxAcc, MaxBoxAccV2 and extent",
        {
            "camlib, one sweep": measure_once,
            "camlib, three passes": measure_thrice,
            "1,000 x (threshold, findContours)": threshold_again_and_again,
        },
    )
    compare(
        "boxes by the released rule",
        {
            "camlib": lambda: [released_boxes(m) for m in bytes_],
            "scipy's distance transforms alone": lambda: [
                ndimage.distance_transform_edt(m > t) for m in bytes_ for t in (20, 100, 110)
            ],
        },
    )


def compare_loaders(photographs: Dataset) -> None:
    """Images to a training step's input, from the second epoch on."""
    preset = transforms.get_preset("imagenet")
    reference = v2.Compose(
        [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float, scale=True)]
    )

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(photographs)

        def __getitem__(self, i: int) -> torch.Tensor:
            with Image.open(photographs.files[i]) as image:
                return reference(image.convert("RGB"))

    def from_the_store() -> None:
        transforms.squashed.CACHE_SHARE = 0.5
        for _, images in transforms.run_ahead(transforms.iterate_batches(photographs, preset, BATCH)):
            generator = torch.Generator().manual_seed(0)
            transforms.normalize_images(transforms.random_crop_mirror(images, 224, generator), preset)

    loader = DataLoader(Files(), BATCH, num_workers=os.cpu_count() or 1, persistent_workers=True)
    compare(
        "training images from the disk, cropped",
        {
            "camlib's store": from_the_store,
            "torchvision's reference loader": lambda: list(loader),
        },
    )


def main(count: int = 96) -> None:
    """Print the table."""
    torch.manual_seed(0)
    evaluate.single.run_sharded = lambda label, key, n, compute, *_, **__: compute(np.arange(n))  # type: ignore[attr-defined]
    evaluate.released.run_sharded = evaluate.single.run_sharded  # type: ignore[attr-defined]
    features.run_sharded = evaluate.single.run_sharded  # type: ignore[attr-defined]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    print("## Against peers\n")
    print(f"{device}, {os.cpu_count()} cores, PyTorch {torch.__version__}; {count} photographs, {MAPS} maps\n")
    print("| work | way | against | ratio of times |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CAMLIB_CACHE"] = temporary
        photographs = draw_photographs(Path(temporary), count)
        transforms.squashed.CACHE_SHARE = 0  # decode in every pass
        compare_files_to_boxes(photographs)
        compare_loaders(photographs)
        cv2.setNumThreads(1)
        compare_maps()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
