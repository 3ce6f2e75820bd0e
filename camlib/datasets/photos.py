"""Photographs without annotations: those that scikit-image's package carries, and a reader's own.

skimage/data/chelsea.png    a cat
skimage/data/coffee.png     a cup of coffee

Each photograph is a class of its own: nobody labelled them with ImageNet's classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from camlib.datasets.base import Dataset, Source
from camlib.datasets.parsing import build_folder_dataset
from camlib.store import cache_dir

# File in scikit-image's data folder -> what it shows.
BUNDLED = {
    "chelsea.png": "a cat",
    "coffee.png": "a cup of coffee",
    "camera.png": "a man with a camera on a tripod",
    "rocket.jpg": "a rocket",
    "motorcycle_left.png": "a motorcycle",
}

# EXIF's tag of the orientation, and what turns each of its values upright.
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def read(name: str, split: str, places: Mapping[str, Path]) -> Dataset:
    """The photographs of scikit-image's package. Raises FileNotFoundError if the package lacks one."""
    spec = find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else places["root"]
    return _build(name, [folder / file for file in BUNDLED], list(BUNDLED.values()), "photographs of scikit-image")


def load_photos(given: Sequence[str | Path]) -> Dataset:
    """Photographs of your own: files, or addresses (http, https), which are downloaded once into the cache.

    Raises FileNotFoundError or OSError with the name of what can't be read.
    """
    files = [_download(str(one)) if "://" in str(one) else Path(one).expanduser() for one in given]
    return _build("photos", files, [file.stem for file in files], f"{len(files)} photographs")


@dataclass
class _Upright(Dataset):
    """Photographs turned as their EXIF data say; annotated datasets are not, because their boxes are not."""

    def __getitem__(self, i: int) -> Image.Image:
        image = super().__getitem__(i)
        turn = _read_turn(self.files[i])  # type: ignore[index]
        return image if turn is None else image.transpose(turn)


def _read_turn(file: str) -> Image.Transpose | None:
    """How a photograph has to be turned to stand upright."""
    try:
        with Image.open(file) as image:
            return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None  # opening the image will say why


def _build(name: str, files: Sequence[Path], titles: list[str], source: str) -> Dataset:
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such photograph")
    stems = [file.stem for file in files]
    given = build_folder_dataset(
        name, "all", Path(), [str(file) for file in files], stems, labels=np.arange(len(files)), class_names=titles,
        ids=stems, source=source,
    )  # fmt: skip
    images = _Upright(**vars(given))
    images.sizes = np.array([images[i].size for i in range(len(images))])
    return images


def _download(address: str) -> Path:
    import pooch

    try:
        return Path(pooch.retrieve(address, known_hash=None, path=cache_dir() / "photos", progressbar=True))
    except Exception as error:  # what requests raises depends on the protocol
        raise OSError(f"{address}: can't be downloaded ({error})") from error


SOURCES = {
    "bundled-photos": Source(
        read,
        ("all",),
        "as scikit-image says: chelsea, coffee, camera and rocket are free to use",
        images={"all": len(BUNDLED)},
    )
}
