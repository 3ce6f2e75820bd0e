"""Photographs without annotations: those that scikit-image's package carries, and a reader's own.

skimage/data/chelsea.png    a cat
skimage/data/coffee.png     a cup of coffee

Each photograph is a class of its own: nobody labelled them with ImageNet's classes.
"""

import io
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from camlib.datasets.base import Dataset, Source, convert_rgb
from camlib.datasets.parsing import build_folder_dataset, walk_images
from camlib.store import cache_dir

# File in scikit-image's data folder -> what it shows.
BUNDLED = {
    "chelsea.png": "a cat",
    "coffee.png": "a cup of coffee",
    "camera.png": "a man with a camera on a tripod",
    "rocket.jpg": "a rocket",
    "motorcycle_left.png": "a motorcycle",
}

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")  # of photographs in a folder

# EXIF's tag of the orientation, and what turns each of its values upright.
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def read(name: str, split: str, places: Mapping[str, Path], n: int | None = None) -> Dataset:
    """The first n photographs of scikit-image's package. Raises FileNotFoundError if the package lacks one."""
    spec = find_spec("skimage")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else places["root"]
    files, titles = [folder / file for file in BUNDLED][:n], list(BUNDLED.values())[:n]
    return _build(name, files, titles, "photographs of scikit-image")


def load_photos(given: Sequence[str | Path]) -> Dataset:
    """Photographs of your own: files, or addresses (http, https), which are downloaded once into the cache.

    Raises FileNotFoundError or OSError with the name of what can't be read.
    """
    files = [_download(str(one)) if "://" in str(one) else Path(one).expanduser() for one in given]
    return _build("photos", files, [file.stem for file in files], f"{len(files)} photographs")


class Photo(NamedTuple):
    """One photograph as people look at it."""

    image: Image.Image  # 8-bit RGB, upright
    source: str  # the file or the address; "-" of standard input; "picture" of one in memory
    notes: tuple[str, ...] = ()  # what was done to it that one may want to know


def read_photo(given: str | Path | Image.Image | np.ndarray | BinaryIO) -> Photo:
    """One photograph: a file, an address (http, https), a PIL image, an array, or an open binary file.

    It is turned upright as its EXIF data say. 16-bit greys keep their upper 8 bits, transparency is laid over white,
    and of several frames the first is taken. Arrays are uint8 (H, W), (H, W, 3) or (H, W, 4), or uint16 (H, W).
    Raises FileNotFoundError, OSError for what is no readable image, ValueError for another array; by name.
    """
    if isinstance(given, np.ndarray):
        known = [(np.uint8, 2, ()), (np.uint8, 3, (3,)), (np.uint8, 3, (4,)), (np.uint16, 2, ())]
        if (given.dtype, given.ndim, given.shape[2:]) not in known or not given.size:
            expected = "uint8 (H, W), (H, W, 3) or (H, W, 4), or uint16 (H, W)"
            raise ValueError(f"the picture is {given.dtype} of shape {given.shape}; expected {expected}")
        return _convert(Image.fromarray(given), "picture")
    if isinstance(given, Image.Image):
        return _read(lambda: given, str(getattr(given, "filename", "") or "picture"))
    if not isinstance(given, str | Path):
        if not hasattr(given, "read"):
            expected = "a file, an address, a PIL image, an array uint8 (H, W, 3), or an open binary file"
            raise ValueError(f"the picture is a {type(given).__name__}; expected {expected}")
        return _read(lambda: Image.open(io.BytesIO(given.read())), "-")
    source = str(given)
    file = _download(source) if "://" in source else Path(given).expanduser()
    if not file.is_file():
        wrong = "is a folder; expected one photograph" if file.is_dir() else "no such photograph"
        raise FileNotFoundError(f"{file}: {wrong}")
    return _read(lambda: Image.open(io.BytesIO(file.read_bytes())), source)


def _read(load: Callable[[], Image.Image], source: str) -> Photo:
    try:
        with warnings.catch_warnings():
            # Pillow warns of 90 megapixels and refuses twice as many: a scan or a panorama is no attack.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return _convert(load(), source)
    except UnidentifiedImageError as error:
        raise OSError(f"{source}: not an image that Pillow can read") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise OSError(f"{source}: not a readable image ({error})") from error


def _read_turn(image: Image.Image) -> Image.Transpose | None:
    """How a photograph has to be turned to stand upright; damaged EXIF data turn nothing."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, struct.error):
        return None


def _convert(image: Image.Image, source: str) -> Photo:
    turn, frames, notes = _read_turn(image), getattr(image, "n_frames", 1), []
    if frames > 1:
        notes.append(f"the first of {frames} frames")
        image.seek(0)
    if image.has_transparency_data and image.mode[0] not in "IF":
        notes.append("transparency laid over white")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = convert_rgb(image)
    if turn is not None:
        notes.append("turned upright as its EXIF data say")
        image = image.transpose(turn)
    return Photo(image, source, tuple(notes))


def list_photos(folder: Path) -> list[Path]:
    """The photographs under a folder, at any depth, sorted; hidden ones are ignored.

    Raises ValueError for a link to a folder above it, FileNotFoundError if there is none.
    """
    files = [folder / name for name in walk_images(folder, SUFFIXES)]
    if not files:
        raise FileNotFoundError(f"{folder}: no photographs in this folder (expected {', '.join(SUFFIXES)})")
    return files


@dataclass
class _Upright(Dataset):
    """Photographs turned as their EXIF data say; annotated datasets are not, because their boxes are not."""

    def __getitem__(self, i: int) -> Image.Image:
        self.check_index(i)
        return read_photo(self.files[i]).image  # type: ignore[index]


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

    pooch.get_logger().setLevel("WARNING")  # it would advise to pin a checksum
    try:
        return Path(pooch.retrieve(address, known_hash=None, path=cache_dir() / "photos", progressbar=True))
    except Exception as error:  # what requests raises depends on the protocol
        raise OSError(f"{address}: can't be downloaded ({error})") from error


SOURCES = {
    "bundled-photos": Source(
        read,
        ("all",),
        "as scikit-image says: chelsea, coffee, camera and rocket are free to use",
        options={"n": None},
        images={"all": len(BUNDLED)},
    )
}
