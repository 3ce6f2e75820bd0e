"""From image files to network input: squash once, crop and normalise in batches."""

from camlib.transforms.pixels import (
    IMAGENET_MEAN as IMAGENET_MEAN,
    IMAGENET_STD as IMAGENET_STD,
    PRESETS as PRESETS,
    RESAMPLING as RESAMPLING,
    Geometry as Geometry,
    Preset as Preset,
    adjust_preset as adjust_preset,
    centre_crop as centre_crop,
    crop_preset as crop_preset,
    crop_windows as crop_windows,
    get_preset as get_preset,
    normalize_images as normalize_images,
    pick_device as pick_device,
    random_crop_mirror as random_crop_mirror,
    squash_image as squash_image,
)
from camlib.transforms.squashed import (
    count_bytes as count_bytes,
    is_lossy as is_lossy,
    iterate_batches as iterate_batches,
    keeps_squashed as keeps_squashed,
    load_squashed as load_squashed,
    run_ahead as run_ahead,
)
