"""What camlib does beside what others do, as ratios of wall time measured in one run: one Markdown table.

    python benchmarks/ratios.py [images]

Each pair runs in turn on the same inputs, each time after a run of its own that is not counted: the memory that another
way leaves behind slows or speeds up what follows. A ratio is of the medians. Photographs are smooth random JPEGs of
500x375 px, the median size of ILSVRC; the network is ResNet-18 at 224 px. Peers: torch-cam, pytorch-grad-cam, OpenCV,
torchvision's reference loader.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchcam.methods import CAM
from torchvision import models
from torchvision.transforms import v2

from camlib import evaluate, features, transforms
from camlib.cam import ten_crop
from camlib.datasets import Dataset
from camlib.models.adapters import adapt_torchvision

SIZE, BATCH, REPEATS = (500, 375), 32, 5
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
    for _ in range(REPEATS):
        for name, job in jobs.items():
            job()
            started = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - started)
    *names, base = jobs
    medians = {name: statistics.median(seconds[name]) for name in jobs}
    for name in names:
        print(f"| {work} | {name} | {base} | {medians[name] / medians[base]:.3f} |", flush=True)


def enlarge(heatmap: np.ndarray) -> np.ndarray:
    """A map at image size."""
    return cv2.resize(heatmap, SIZE)


def box_by_opencv(enlarged: np.ndarray, threshold: float = 0.2) -> np.ndarray:
    """The usual lines: threshold, the largest component."""
    mask = (enlarged > threshold * enlarged.max()).astype(np.uint8)
    stats = cv2.connectedComponentsWithStats(mask, connectivity=8)[2]
    return stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax(), :4] if len(stats) > 1 else np.array([0, 0, *SIZE])


def compare_files_to_boxes(photographs: Dataset) -> None:
    preset = transforms.get_preset("imagenet")
    own = models.resnet18().eval()
    net = adapt_torchvision("resnet18", own, "avg").to(memory_format=torch.channels_last).eval()

    def crops() -> Iterator[torch.Tensor]:
        for _, images in transforms.iterate_batches(photographs, preset, BATCH):
            yield transforms.normalize_images(transforms.centre_crop(images, preset.crop), preset)

    def forward() -> None:
        with torch.no_grad():
            for x in crops():
                net(x)

    def forward_ten() -> None:
        with torch.no_grad():
            for _, images in transforms.iterate_batches(photographs, preset, 8):
                net(ten_crop(transforms.normalize_images(images, preset), preset.crop).flatten(0, 1))

    def torch_cam() -> None:
        with CAM(own, "layer4", "fc") as extractor, torch.no_grad():
            for x in crops():
                scores = own(x)
                for best in scores.topk(5).indices.T:
                    for heatmap in extractor(best.tolist(), scores)[0]:
                        box_by_opencv(enlarge(heatmap.numpy()))

    def grad_cam() -> None:
        with GradCAM(own, [own.layer4]) as extractor:
            for x in crops():
                for heatmap in extractor(x, [ClassifierOutputTarget(0)] * len(x)):
                    box_by_opencv(enlarge(heatmap))

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


def compare_top_maps(count: int) -> None:
    """From network input to the maps of the five best classes."""
    own = models.resnet18().eval()
    net = adapt_torchvision("resnet18", own, "avg").to(memory_format=torch.channels_last).eval()
    x = torch.rand(count, 3, 224, 224)

    def forward() -> None:
        with torch.no_grad():
            net(x)

    def torch_cam() -> None:
        with CAM(own, "layer4", "fc") as extractor, torch.no_grad():
            scores = own(x)
            for best in scores.topk(5).indices.T:
                extractor(best.tolist(), scores)

    def grad_cam() -> None:
        with torch.no_grad():
            ranked = own(x).topk(5).indices.T.tolist()
        with GradCAM(own, [own.layer4]) as extractor:
            for best in ranked:
                extractor(x, [ClassifierOutputTarget(label) for label in best])

    compare(
        f"maps of the 5 best classes, {count} images",
        {
            "camlib": lambda: net.predict_with_cam(x, top=5),
            "torch-cam": torch_cam,
            "grad-cam, a pass per class, maps at 224 px": grad_cam,
            "the forward pass": forward,
        },
    )


def compare_training(photographs: Dataset) -> None:
    """An epoch's images, and its steps, from the second epoch on."""
    preset = transforms.get_preset("imagenet")
    reference = v2.Compose(
        [
            v2.RandomResizedCrop(224),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float, scale=True),
            v2.Normalize(transforms.IMAGENET_MEAN, transforms.IMAGENET_STD),
        ]
    )

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(photographs)

        def __getitem__(self, i: int) -> torch.Tensor:
            with Image.open(photographs.files[i]) as image:
                return reference(image.convert("RGB"))

    def from_the_store() -> Iterator[torch.Tensor]:
        transforms.squashed.CACHE_SHARE = 0.5
        for _, images in transforms.run_ahead(transforms.iterate_batches(photographs, preset, BATCH)):
            generator = torch.Generator().manual_seed(0)
            images = transforms.random_crop_mirror(images, 224, generator)
            yield transforms.normalize_images(images, preset).contiguous(memory_format=torch.channels_last)

    def train(net: torch.nn.Module, batches: Iterable[torch.Tensor]) -> None:
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
        for x in batches:
            optimizer.zero_grad()
            cross_entropy(net(x), torch.zeros(len(x), dtype=torch.int64)).backward()
            optimizer.step()

    loader = DataLoader(Files(), BATCH, num_workers=os.cpu_count() or 1, persistent_workers=True)
    theirs = models.resnet18().train()
    ours = models.resnet18().train().to(memory_format=torch.channels_last)
    compare(
        "training images from the disk, cropped",
        {"camlib's store": lambda: list(from_the_store()), "torchvision's reference loader": lambda: list(loader)},
    )
    compare(
        "training steps from the disk, ResNet-18",
        {
            "camlib's store and memory layout": lambda: train(ours, from_the_store()),
            "torchvision's reference loader": lambda: train(theirs, loader),
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
    print(f"{device}, {os.cpu_count()} cores, PyTorch {torch.__version__}; {count} photographs\n")
    print("| work | way | against | ratio of times |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CAMLIB_CACHE"] = temporary
        photographs = draw_photographs(Path(temporary), count)
        transforms.squashed.CACHE_SHARE = 0  # decode in every pass
        compare_files_to_boxes(photographs)
        compare_top_maps(BATCH)
        compare_training(photographs)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
