"""What a profile takes on this machine: hours and disk, from what it will run and a probe of about a minute."""

import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from camlib import datasets
from camlib.report.needs import is_network
from camlib.report.plan import choose_settings, complete_settings, list_gpus
from camlib.report.trainings import POOLS, list_trainings
from camlib.store import cache_dir, digest, digest_code, write_aside

CROPS, BACKWARD = 10, 3  # crops of the released protocol; what a gradient costs, in forward passes
SECONDS = 2.0  # that each part of the probe runs
BATCH = {"cuda": 64, "mps": 16, "cpu": 4}


class Work(NamedTuple):
    """What a profile does: images through networks, images to decode, bytes of its stores of squashed images."""

    passes: Counter[tuple[str, str]]  # by ("train" or "forward", model)
    decoded: int
    stored: int


def count_images(name: str, split: str = "", options: dict[str, Any] | None = None) -> int:
    """How many images a dataset has by its entry, by default in all splits; 0 where the entry does not say."""
    source, options = datasets.get_source(name), options or {}
    count = options.get("n", source.options.get("n")) or source.images.get(split, sum(source.images.values()))
    per_class = options.get("per_class")
    return min(count, per_class * (source.classes or 0)) if per_class else count


def list_work(profile: str, check_data: bool = True) -> Work:
    """The trainings and evaluations of a profile, as far as datasets' entries tell how many images they have."""
    from camlib.train import get_recipe
    from camlib.transforms import count_bytes, get_preset, is_lossy

    passes, stores = Counter[tuple[str, str]](), dict[tuple[str, str], tuple[int, int]]()
    for model, _, _, training, _ in list_trainings(profile, check_data):
        recipe, size = get_recipe(training["recipe"], training["epochs"]), get_preset(training["preset"]).squash
        epochs = 1 if recipe.frozen else recipe.epochs_run
        for split, options in (("train", training["train_options"]), ("val", training["eval_options"])):
            count = count_images(training["trained_on"], split, options)
            passes["train" if split == "train" and not recipe.frozen else "forward", model] += epochs * count
            lossy = split == "train" and is_lossy(count, size)
            stores[training["trained_on"], split] = count, count_bytes(count, size, lossy)
    chosen = choose_settings(profile, check_data)
    for settings in complete_settings({name: planned.parameters for name, planned in chosen.items()}).values():
        counts = {data: count_images(*data) for data in _find_data(settings)}
        stores |= {data: (count, count_bytes(count, 256)) for data, count in counts.items() if data not in stores}
        count, crops = sum(counts.values()), settings.get("crops_networks")
        networks = [
            one for one in [*settings.get("networks", []), settings.get("network"), settings] if is_network(one)
        ]
        for network in networks:
            trained = len(POOLS) * len(settings.get("seeds", [0])) if network is settings else 1
            passes["forward", network["model"]] += count * trained
            if not crops or network.get("label") in crops:
                passes["forward", network["model"]] += CROPS * min(settings.get("crops_images", 0), count)
        for network in settings.get("backprop", []):
            passes["forward", network["model"]] += (CROPS + 2) * BACKWARD * min(settings["gradient_images"], count)
    images, sizes = zip(*stores.values(), strict=True) if stores else ((0,), (0,))
    return Work(+passes, sum(images), sum(sizes))


def _find_data(value: Any) -> Iterator[tuple[str, str]]:
    """(name, split) of the datasets that settings name, but for those that networks are trained on."""
    if isinstance(value, dict) and "dataset" in value:
        yield value["dataset"], value.get("split", "")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _find_data(child)


def probe_rates(work: Work) -> dict[str, float]:
    """Images per second of "decode" and of each kind of pass, measured here."""
    from camlib.transforms import pick_device

    device = pick_device()
    rates = {"decode": _count_per_second(_make_decoding(), 1) * min(os.cpu_count() or 1, 16)}
    for kind, model in work.passes:
        rates[f"{kind} {model}"] = _count_per_second(_make_pass(kind, model, device), BATCH[device.type])
    return rates


def _count_per_second(job: Callable[[], object], images: int) -> float:
    job()  # compiles, chooses algorithms
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        job()
        done += images
    return done / (time.perf_counter() - started)


def _make_decoding() -> Callable[[], object]:
    from camlib.transforms import squash_image

    coarse = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC).save(made, "JPEG", quality=90)
    return lambda: squash_image(Image.open(io.BytesIO(made.getvalue())), 256)


def _make_pass(kind: str, model: str, device: Any) -> Callable[[], object]:
    """One step of SGD, or one forward pass, as training and evaluation make them."""
    import torch
    from torch.nn import functional as F

    from camlib.models import build_model

    net = build_model(model).to(device).to(memory_format=torch.channels_last).train(kind == "train")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9)
    x = torch.zeros(BATCH[device.type], 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(len(x), dtype=torch.int64, device=device)

    def step() -> None:
        with torch.set_grad_enabled(kind == "train"):
            logits = net(x)
        if kind == "train":
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
        logits.sum().item()  # waits for the device

    return step


def estimate_profile(profile: str, check_data: bool = True) -> str:
    """Hours and disk of a profile on this machine, in one line for people. check_data: see `choose_settings`.

    The probe takes about a minute. Its line is kept, and given again for the same plan on the same machine.
    """
    plans = [(name, planned.parameters) for name, planned in choose_settings(profile, check_data).items()]
    path = cache_dir() / "probes" / f"{digest(plans, list_gpus(), os.cpu_count(), digest_code(__name__))}.txt"
    if not path.exists():
        work = list_work(profile, check_data)
        try:
            rates = probe_rates(work)
        except RuntimeError as error:  # the GPU has no memory left
            return f"no estimate for this machine: {str(error).splitlines()[0]}"
        seconds = Counter[str]()
        for (kind, model), images in work.passes.items():
            seconds[kind] += round(images / rates[f"{kind} {model}"])
        told = {"training": seconds["train"], "evaluation": seconds["forward"]}
        told["decoding"] = round(work.decoded / rates["decode"])
        hours = ", ".join(f"{what} {count / 3600:.1f} h" for what, count in told.items())
        stored = f"{work.stored / 1e9:.0f} GB of disk for squashed images"
        with write_aside(path) as aside:
            aside.write_text(
                f"rough estimate for this machine, one job after another, probed on {date.today()}: {hours}; {stored}"
            )
    return f"{path.read_text()} (delete {path} to probe again)"
