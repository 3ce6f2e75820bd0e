"""How squashed images may be kept for training: size, decoding speed and what it does to errors, one Markdown table.

    CAMLIB_DATA=... python benchmarks/stores.py [images]

The images are ILSVRC's validation set, squashed to 256 px; the network is EfficientNet-Lite0 on their centre 224. A
flip is an image whose best class is right with one set of pixels and wrong with the other.
"""

import io
import sys
import time

import numpy as np
import torch
from PIL import Image

from camlib import datasets, train
from camlib.transforms import PRESETS, centre_crop, load_squashed, normalize_images

FORMATS: dict[str, dict[str, object]] = {
    "PNG": {"format": "PNG", "compress_level": 6},
    "WebP, lossless": {"format": "WebP", "lossless": True, "method": 0},
    "JPEG 95, colours at full resolution": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "JPEG 95, colours at half": {"format": "JPEG", "quality": 95, "subsampling": 2},
    "JPEG 90, colours at half": {"format": "JPEG", "quality": 90, "subsampling": 2},
    "WebP 95": {"format": "WebP", "quality": 95, "method": 0},
}


def main(count: int = 1000) -> None:
    """Print the table."""
    torch.set_grad_enabled(False)
    print("## Formats for training images\n")
    if not datasets.is_available("ilsvrc2012"):
        print("Not run: " + datasets.describe_missing("ilsvrc2012").splitlines()[0])
        return
    images = datasets.load("ilsvrc2012", split="val")
    images = images.subset(np.arange(min(count, len(images))))
    net, preset, *_ = train.load_network("efficientnet_lite0", "bundled")
    squashed = np.array(load_squashed(images, PRESETS["imagenet"].squash, preset.interpolation))

    def find_right(pixels: np.ndarray) -> np.ndarray:
        batches = np.array_split(np.arange(len(pixels)), max(1, len(pixels) // 50))
        inputs = (normalize_images(centre_crop(torch.from_numpy(pixels[b]), preset.crop), preset) for b in batches)
        return np.concatenate([net(x).argmax(1).numpy() for x in inputs]) == images.labels

    right = find_right(squashed)
    print(f"{len(images)} images of ILSVRC; top-1 error of EfficientNet-Lite0 on their centre 224 of 256 px\n")
    print("| kept as | KiB an image | images/s decoded per core | error, % | flips |\n| --- | --- | --- | --- | --- |")
    print(f"| pixels | {squashed[0].nbytes / 1024:.0f} | none | {100 * (1 - right.mean()):.1f} | 0 |")
    for name, options in FORMATS.items():
        kept = []
        for pixels in squashed:
            made = io.BytesIO()
            Image.fromarray(pixels.transpose(1, 2, 0)).save(made, **options)  # type: ignore[arg-type]
            kept.append(made.getvalue())
        started = time.process_time()
        decoded = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in kept])
        rate = len(kept) / (time.process_time() - started)
        found = find_right(decoded.transpose(0, 3, 1, 2).copy())
        size, error = sum(map(len, kept)) / len(kept) / 1024, 100 * (1 - found.mean())
        print(f"| {name} | {size:.0f} | {rate:,.0f} | {error:.1f} | {(found != right).sum()} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
