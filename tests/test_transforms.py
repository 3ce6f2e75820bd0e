"""Preprocessing against torchvision and hand-computed pixels; the cache of squashed images."""

import errno
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tvf

from camlib import transforms
from camlib.transforms import PRESETS, Preset, crop_windows, normalize_images, random_crop_mirror, squash_image


def test_squash_and_normalise_agree_with_torchvision():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    squashed = squash_image(Image.fromarray(pixels), 24)
    expected = tvf.to_tensor(tvf.resize(Image.fromarray(pixels), [24, 24]))
    assert torch.equal(torch.tensor(squashed) / 255, expected)
    ours = normalize_images(torch.tensor(squashed)[None], PRESETS["imagenet"])[0]
    theirs = tvf.normalize(expected, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(ours, theirs)


def test_caffe_input_is_bgr_minus_the_mean():
    red_green_blue = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    assert normalize_images(red_green_blue, PRESETS["caffe227"]).flatten().tolist() == [30 - 104, 20 - 117, 10 - 123]


def test_random_crops_are_windows_of_the_image_or_of_its_mirror():
    images = torch.arange(8 * 3 * 10 * 10).remainder(251).to(torch.uint8).reshape(8, 3, 10, 10)
    crops = random_crop_mirror(images, 7, torch.Generator().manual_seed(0))
    mirrored = 0
    for image, crop in zip(images, crops, strict=True):
        windows = [image[:, y : y + 7, x : x + 7] for y in range(4) for x in range(4)]
        plain, flipped = (any(torch.equal(c, w) for w in windows) for c in (crop, crop.flip(-1)))
        assert plain or flipped
        mirrored += flipped
    assert 0 < mirrored < 8
    again = random_crop_mirror(images, 7, torch.Generator().manual_seed(0))
    assert torch.equal(crops, again)
    assert not torch.equal(crops, random_crop_mirror(images, 7, torch.Generator().manual_seed(1)))


def test_full_size_crops_move_over_repeated_borders():
    image = torch.arange(32, dtype=torch.uint8).repeat(32, 1).expand(64, 3, 32, 32)  # a pixel's value is its column
    crops = random_crop_mirror(image, 32, torch.Generator().manual_seed(0))
    first = {int(c[0, 0].min()) for c in crops}
    assert crops.shape == image.shape
    assert first == {0, 1, 2}  # moved left, not at all or right, by up to 32 / 16 px


def test_crop_window_in_original_pixels():
    preset = Preset(squash=256, crop=224)
    assert crop_windows(np.array([[512, 128]]), preset).tolist() == [[32, 8, 480, 120]]
    assert crop_windows(np.array([[512, 128]]), Preset(224, 224)).tolist() == [[0, 0, 512, 128]]


def test_unknown_preset_lists_the_names():
    with pytest.raises(ValueError, match="imagenet"):
        transforms.get_preset("imagnet")


def test_squashed_images_are_decoded_once(monkeypatch, folder_dataset):
    first = transforms.load_squashed(folder_dataset, 16)
    expected = np.stack([squash_image(folder_dataset[i], 16) for i in range(len(folder_dataset))])
    assert np.array_equal(first, expected)
    with monkeypatch.context() as patch:
        patch.setattr(transforms.squashed, "_decode_batches", None)  # a second pass that decodes would fail
        assert np.array_equal(transforms.load_squashed(folder_dataset, 16), expected)
    monkeypatch.setattr(transforms.squashed, "CACHE_SHARE", 0)  # too large for the cache: decoded by workers
    monkeypatch.setattr(transforms.squashed, "_make_squashed", None)
    assert transforms.keeps_squashed(folder_dataset, 16), "it is there"
    expected = np.stack([squash_image(folder_dataset[i], 12) for i in range(len(folder_dataset))])
    batches = list(transforms.iterate_batches(folder_dataset, Preset(12, 12), 4, np.array([5, 1, 3, 0, 2])))
    assert [b[0].tolist() for b in batches] == [[5, 1, 3, 0], [2]]
    assert np.array_equal(torch.cat([b[1] for b in batches]).numpy(), expected[[5, 1, 3, 0, 2]])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped")
def test_memory_does_not_grow_with_the_images_read(folder_dataset):
    batches = transforms.iterate_batches(folder_dataset, Preset(16, 16), 2)
    for _ in batches:
        assert "pictures-val-16" not in Path("/proc/self/maps").read_text(), "nothing of the file stays mapped"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # what "fork" means here
def test_workers_decode_however_processes_start(start_method, folder_dataset):
    expected = np.stack([squash_image(folder_dataset[i], 16) for i in range(len(folder_dataset))])
    many = folder_dataset.subset(np.tile(np.arange(7), 40))  # enough for several workers
    assert np.array_equal(transforms.load_squashed(many, 16), np.tile(expected, (40, 1, 1, 1)))


@pytest.mark.parametrize("case", ["little is free", "the disk gives less than it promised"])
def test_a_full_disk_ends_decoding_with_the_file_and_what_it_needs(case, folder_dataset, monkeypatch):
    expected = np.stack([squash_image(folder_dataset[i], 16) for i in range(len(folder_dataset))])

    def refuse(*_):
        yield torch.from_numpy(expected[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if case == "little is free":
            patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        else:
            patch.setattr(transforms.squashed, "_decode_batches", refuse)
        with pytest.raises(
            OSError, match=r"disk full: .*pictures-val-16-.*\.npy needs [\d,]+ more bytes, .* free"
        ) as full:
            transforms.load_squashed(folder_dataset, 16)
    assert full.value.errno == errno.ENOSPC
    assert np.array_equal(transforms.load_squashed(folder_dataset, 16), expected), "with space it goes on"


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize(
    "cut", ["between images", "within an image", "the list is behind", "the list is cut", "nothing is listed", "all"]
)
def test_a_killed_run_goes_on_with_the_images_that_it_decoded(cut, lossy, folder_dataset, own_cache, monkeypatch):
    monkeypatch.setattr(transforms.squashed, "LOSSLESS_MOST", 0 if lossy else 10**9)
    read, module = [], transforms.squashed
    decode = module._decode_batches

    def kill(dataset, squash, size, interpolation, batches):
        yield next(decode(dataset, squash, size, interpolation, [np.arange(7 if cut == "all" else 3)]))
        raise KeyboardInterrupt

    def count(dataset, squash, size, interpolation, batches):
        read.extend(np.concatenate(batches).tolist())
        return decode(dataset, squash, size, interpolation, batches)

    def read_all():
        return torch.cat([x for _, x in transforms.iterate_batches(folder_dataset, Preset(16, 16), 4, training=True)])

    with monkeypatch.context() as patch:
        patch.setattr(module, "_decode_batches", kill)
        with pytest.raises(KeyboardInterrupt):
            read_all()
    part = next(path for path in own_cache.rglob("*.part") if ".ends." not in path.name)
    listed = part.with_name(part.name.replace(".part", ".ends.part"))
    left = 7 if cut == "all" else 3
    if cut == "within an image":
        part.write_bytes(part.read_bytes()[:-5])
        left = 2
    elif cut == "the list is behind":
        listed.write_bytes(listed.read_bytes()[:16])
        left = 2
    elif cut == "the list is cut":
        listed.write_bytes(listed.read_bytes()[:20])
        left = 2
    elif cut == "nothing is listed":
        listed.write_bytes(b"")
        left = 0
    monkeypatch.setattr(transforms.squashed, "CACHE_SHARE", 1)
    written = part.stat().st_size
    need = transforms.count_bytes(7, 16, lossy)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=need - written))
        assert transforms.keeps_squashed(folder_dataset, 16, lossy=lossy), "what is written counts as free"
    monkeypatch.setattr(module, "_decode_batches", count)
    found = read_all()
    assert read == list(range(left, 7))
    squash = module._squash_lossy if lossy else squash_image
    assert np.array_equal(found, np.stack([squash(folder_dataset[i], 16, "bilinear") for i in range(7)]))
    assert not list(own_cache.rglob("*.part"))


def test_large_training_sets_are_read_as_jpegs_and_the_disk_does_not_decide(folder_dataset, own_cache, monkeypatch):
    preset, monkey = Preset(32, 32), monkeypatch.setattr
    monkey(transforms.squashed, "LOSSLESS_MOST", 7 * 3 * 32**2 - 1)

    def read(**given):
        return torch.cat([x for _, x in transforms.iterate_batches(folder_dataset, preset, 3, **given)]).numpy()

    kept = read(training=True)
    assert next(own_cache.rglob("*.jpegs")).stat().st_size < kept.size, "smaller than the pixels"
    assert np.array_equal(read(training=True), kept)
    monkey(transforms.squashed, "CACHE_SHARE", -1)
    next(own_cache.rglob("*.jpegs")).unlink()
    assert np.array_equal(read(training=True), kept), "decoded in each pass: the same pixels"
    exact = read()
    assert np.array_equal(exact, [squash_image(folder_dataset[i], 32) for i in range(7)]), "measured: never JPEGs"
    apart = np.abs(exact.astype(int) - kept)
    assert 0 < apart.mean() < 3


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(1, 1, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_the_device_is_cuda_then_apples_then_the_cpu(cuda, mps, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert transforms.pick_device().type == expected
    if cuda:
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert transforms.pick_device() == torch.device("cuda", 1)
        monkeypatch.setenv("LOCAL_RANK", "2")
        with pytest.raises(ValueError, match=r"process 3 .* has no GPU: there are 2"):
            transforms.pick_device()


@pytest.mark.parametrize(("free", "kept"), [(2 * 7 * 3 * 16**2, True), (2 * 7 * 3 * 16**2 - 1, False)])
def test_squashed_images_are_kept_where_they_take_half_of_the_free_disk_at_most(
    free, kept, folder_dataset, monkeypatch
):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert transforms.keeps_squashed(folder_dataset, 16) == kept


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_corrupt_image_stops_with_its_path_and_leaves_no_cache(
    share, tmp_path, own_cache, monkeypatch, folder_dataset
):
    monkeypatch.setattr(transforms.squashed, "CACHE_SHARE", share)
    bad = next(p for p in tmp_path.rglob("*.jpg") if p.stem == folder_dataset.ids[3].split("/")[-1].split(".")[0])
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises((OSError, ValueError), match=bad.name):
        list(transforms.iterate_batches(folder_dataset, Preset(16, 16), 4))
    assert not list(own_cache.rglob("*.npy"))


def test_what_was_begun_of_other_versions_goes_after_a_day(folder_dataset, own_cache):
    transforms.load_squashed(folder_dataset, 12)
    (own,) = own_cache.rglob("*.npy")
    old, new = (own.with_name(f"pictures-val-16-{key}.npy.part") for key in ("0" * 16, "1" * 16))
    for path, age in ((old, 90_000), (new, 10)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    transforms.load_squashed(folder_dataset, 16)
    assert not old.exists()
    assert new.exists(), "another run may be at it"


def test_a_damaged_store_is_named(folder_dataset, own_cache, monkeypatch):
    monkeypatch.setattr(transforms.squashed, "LOSSLESS_MOST", 0)
    list(transforms.iterate_batches(folder_dataset, Preset(16, 16), 4, training=True))
    (path,) = own_cache.rglob("*.jpegs")
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(OSError, match=rf"{path.name}: damaged; delete it"):
        list(transforms.iterate_batches(folder_dataset, Preset(16, 16), 4, training=True))
