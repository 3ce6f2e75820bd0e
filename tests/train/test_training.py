"""Training: resumable to the same weights, cached by its settings, paired seeds; wrong data refused."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from camlib import datasets, transforms
from camlib.models import build_model
from camlib.train import Recipe, frozen, get_recipe, learning_rate, train_model, training
from camlib.train.recipes import RECIPES, group_parameters
from camlib.transforms import PRESETS

RECIPE = Recipe(epochs=2, lr=0.05, schedule="one_cycle", batch_size=16)
SMALL = PRESETS["small"]


@pytest.fixture
def sets():
    load = datasets.load
    return load("synthetic-objects", split="train", n=64), load("synthetic-objects", split="val", n=24)


def fit(sets, **changes):
    return train_model("mini_gap", *sets, **({"preset": SMALL, "recipe": RECIPE} | changes))


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_killed_run_ends_in_the_weights_of_an_undisturbed_one(sets, tmp_path, monkeypatch):
    whole, history = fit(sets)
    assert [h["epoch"] for h in history] == [1, 2]
    monkeypatch.setenv("CAMLIB_CACHE", str(tmp_path))
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    real, steps = training._training_step, []

    def killed(*arguments):
        steps.append(1)
        if len(steps) == 6:  # in the second epoch: the checkpoint before it lies in mid-epoch
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(training, "_training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(sets)
    (folder,) = (tmp_path / "checkpoints").iterdir()
    assert [p.name for p in folder.iterdir()] == ["last.pt"]
    resumed, history_again = fit(sets)
    assert len(steps) == 6 + 8 - 5
    assert same_weights(whole, resumed)
    for key in ("train_loss", "val_loss", "val_top1"):
        assert [h[key] for h in history] == [h[key] for h in history_again]
    kept = sorted(folder.iterdir())
    assert [p.name for p in kept] == ["model.safetensors", "training.json"]
    assert kept[0].stat().st_mode == kept[1].stat().st_mode  # who shares the cache can read both


def test_the_same_settings_are_trained_once_and_others_anew(sets, own_cache, monkeypatch):
    first, _ = fit(sets)
    monkeypatch.setattr(training, "_train", None)  # training again would fail
    again, _ = fit(sets)
    assert same_weights(first, again)
    for changes in ({"seed": 1}, {"pool": "max"}, {"recipe": Recipe(epochs=2, lr=0.04, schedule="one_cycle")}):
        with pytest.raises(TypeError):
            fit(sets, **changes)
    settings = json.loads(next((own_cache / "checkpoints").glob("*/training.json")).read_text())["settings"]
    assert settings["train"][2] == sets[0].fingerprint


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_training_takes_images_from_workers_however_processes_start(start_method, folder_dataset, monkeypatch):
    monkeypatch.setattr(transforms.squashed, "CACHE_SHARE", 0)  # decoded by workers in every epoch
    recipe = replace(RECIPE, epochs=1, batch_size=2)
    _, history = fit((folder_dataset, folder_dataset), recipe=recipe, preset=transforms.Preset(32, 32))
    assert len(history) == 1
    assert np.isfinite(history[0]["val_loss"])


def test_two_runs_at_once_train_one_network(sets, own_cache, monkeypatch):
    starts, real, held, arrived = [], training._train, training.hold_cache, []

    def hold(*arguments, **options):
        arrived.append(1)
        return held(*arguments, **options)

    def slow(*arguments):
        starts.append(1)
        while len(arrived) < 2:  # the other one, built by now, is about to wait
            time.sleep(0.05)
        real(*arguments)

    monkeypatch.setattr(training, "_train", slow)
    monkeypatch.setattr(training, "hold_cache", hold)
    with ThreadPoolExecutor() as pool:  # each with a lock of its own, as two processes
        first = pool.submit(fit, sets)
        while not starts:  # threads share torch's random state: one network is built after the other
            time.sleep(0.05)
        second = pool.submit(fit, sets)
        assert same_weights(first.result()[0], second.result()[0])
    assert len(starts) == 1


def test_both_pools_start_from_the_same_weights_and_see_the_same_images(sets, monkeypatch):
    seen, starts = {}, {}

    def record(net, train_set, val, preset, recipe, seed, folder, settings):
        pool = settings["pool"]
        starts[pool] = [v.clone() for v in net.state_dict().values()]
        accelerator = type("One", (), {"process_index": 0, "num_processes": 1, "device": "cpu"})
        batches = training._training_batches(train_set, None, preset, recipe, seed, 0, 0, accelerator)
        seen[pool] = [x for x, _ in batches]
        raise StopIteration

    monkeypatch.setattr(training, "_train", record)
    for pool in ("avg", "max"):
        with pytest.raises(StopIteration):
            fit(sets, pool=pool)
    assert all(torch.equal(a, b) for a, b in zip(starts["avg"], starts["max"], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(seen["avg"], seen["max"], strict=True))


def test_training_learns(sets):
    recipe = Recipe(epochs=12, lr=0.1, schedule="one_cycle", batch_size=16)
    net, history = fit(sets, recipe=recipe)
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]
    loss, top1 = training.evaluate_classifier(net, sets[1], SMALL)
    assert history[-1]["val_top1"] == pytest.approx(top1)
    assert history[-1]["val_loss"] == pytest.approx(loss, rel=1e-4)


def test_learning_rates():
    step = Recipe(epochs=8, lr=0.001, schedule="step")
    rates = [learning_rate(step, s, 160_000) for s in (0, 39_999, 40_000, 80_000, 159_999)]
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-5, 1e-6])
    cycle = [learning_rate(RECIPE, s, 100) for s in range(100)]
    assert np.argmax(cycle) == pytest.approx(29, abs=1)
    assert max(cycle) == pytest.approx(RECIPE.lr, rel=0.01)
    assert cycle[-1] < 0.001 * RECIPE.lr
    with pytest.raises(ValueError, match="paper, paper_short, short"):
        get_recipe("papr", 3)
    with pytest.raises(ValueError, match="epochs is 0; expected at least 1"):
        get_recipe("short", 0)


def test_biases_learn_twice_as_fast_without_decay():
    net = training.build_model("alexnet_star_gap", 3)
    weights, scales, biases = group_parameters(net, get_recipe("paper", 8))
    assert (weights["weight_decay"], weights["lr_factor"]) == (5e-4, 1)
    assert (biases["weight_decay"], biases["lr_factor"]) == (0, 2)
    assert len(biases["params"]) == len(weights["params"]) == 8
    assert scales["params"] == []


def test_wrong_data_is_refused(sets):
    train_set, val = sets
    other = datasets.load("synthetic-transfer", split="val", n=24)
    with pytest.raises(ValueError, match="12 classes, val 8"):
        train_model("mini_gap", train_set, other, preset=SMALL, recipe=RECIPE)
    with pytest.raises(ValueError, match="10 training images; one batch takes 16"):
        fit((train_set.subset(np.arange(10)), val))
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at step"):
        fit(sets, recipe=Recipe(epochs=30, lr=1e18, schedule="step", batch_size=16))


def test_a_frozen_trunk_keeps_its_weights_and_what_follows_learns():
    load, preset = datasets.load, PRESETS["lite0_whole"]
    sets = load("synthetic-objects", split="train", n=48), load("synthetic-objects", split="val", n=12)
    recipe = replace(RECIPES["head"], epochs=8, batch_size=16, lr=0.001)
    given = {"preset": preset, "recipe": recipe, "weights": "bundled"}
    net, history = train_model("efficientnet_lite0_gap", *sets, **given)
    start = build_model("efficientnet_lite0_gap", 12, weights="bundled").eval()
    assert same_weights(net.backbone.cut, start.backbone.cut), "batch statistics included"
    assert not torch.equal(net.fc.weight, start.fc.weight)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    loss, top1 = training.evaluate_classifier(net, sets[1], preset)
    assert history[-1]["val_top1"] == pytest.approx(top1), "from cached maps as from images"
    assert history[-1]["val_loss"] == pytest.approx(loss, rel=1e-3)


def test_mirrored_maps_are_mirrored_or_left():
    maps = torch.arange(2 * 3 * 2 * 4.0).reshape(2, 3, 2, 4).repeat(16, 1, 1, 1)
    found = frozen.mirror_maps(maps, torch.Generator().manual_seed(0))
    left = (found == maps).flatten(1).all(1)
    assert 0 < left.sum() < 32
    assert torch.equal(found[~left], maps[~left].flip(-1))


def test_a_network_without_the_added_convolution_has_no_trunk(sets):
    with pytest.raises(ValueError, match="no added convolution"):
        fit(sets, recipe=replace(RECIPE, frozen=True))
