"""Several processes at one work: torchrun trains and evaluates as one process does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import save_network
from safetensors.torch import load_file

from camlib import datasets
from camlib.report.trainings import describe_training, list_trainings
from camlib.train import get_recipe, training
from camlib.transforms import PRESETS, random_crop_mirror

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
TRAIN = """
import os, sys, time
open(f"{sys.argv[2]}/pid-{os.getpid()}", "w").close()
from camlib import datasets, train
from camlib.train import training
from camlib.transforms import PRESETS
training.CHECKPOINT_EVERY_S = 0.0
if sys.argv[1] == "slow":
    real = training._training_step
    training._training_step = lambda *a: (time.sleep(0.3), real(*a))[1]
load = lambda split, n: datasets.load("synthetic-objects", split=split, n=n)
recipe = train.Recipe(epochs=2, lr=0.05, schedule="one_cycle", batch_size=16)
train.train_model("mini_gap", load("train", 64), load("val", 24), preset=PRESETS["small"], recipe=recipe)
"""


def start(*arguments, **variables):
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def wait_for(find):
    limit = time.monotonic() + 120
    while not (found := list(find())):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return found[0]


def read_trained(folder):
    (weights,) = folder.glob("checkpoints/*/model.safetensors")
    history = json.loads(weights.with_name("training.json").read_text())["history"]
    assert [row["epoch"] for row in history] == [1, 2]
    return load_file(weights)


def test_two_processes_train_are_killed_and_one_or_two_go_on(own_cache, tmp_path):
    script, slow, one = tmp_path / "train.py", tmp_path / "slow", tmp_path / "one"
    script.write_text(TRAIN)
    slow.mkdir()
    finish(start(*TORCHRUN, 2, script, "fast", tmp_path, CAMLIB_CACHE=str(tmp_path / "whole")))
    process = start(*TORCHRUN, 2, script, "slow", slow)
    last = wait_for(lambda: own_cache.glob("checkpoints/*/last.pt"))
    for pid in [process.pid, *(int(path.name[4:]) for path in slow.iterdir())]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert not (last.parent / "training.json").exists()
    shutil.copytree(own_cache, one)
    finish(start(*TORCHRUN, 2, script, "fast", tmp_path))
    finish(start(script, "fast", tmp_path, CAMLIB_CACHE=str(one)))
    undisturbed, again = read_trained(tmp_path / "whole"), read_trained(own_cache)
    assert all(torch.equal(undisturbed[name], again[name]) for name in undisturbed)
    # One process normalises over the whole batch where two see a half each, so these weights differ.
    assert read_trained(one).keys() == undisturbed.keys()


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(training, "Accelerator", lambda **_: SimpleNamespace(num_processes=3))
    drawn = datasets.load("synthetic-objects", split="train", n=64)
    with pytest.raises(ValueError, match="a batch of 64 does not divide among 3 processes"):
        training.train_model("mini_gap", drawn, drawn, preset=PRESETS["small"], recipe=get_recipe("short", 1))


def test_each_process_crops_its_images_as_one_process_would():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 20, 20), np.uint8))
    whole = random_crop_mirror(images, 16, torch.Generator().manual_seed(1))
    for i in range(3):
        own = random_crop_mirror(images[i::3], 16, torch.Generator().manual_seed(1), (i, 3))
        assert torch.equal(own, whole[i::3])


def test_torchrun_localizes_as_one_process_and_says_it_once(own_cache, tmp_path):
    weights = save_network(tmp_path, datasets.load("synthetic-objects"))
    command = ["-m", "camlib", "localize", "synthetic-objects", "--model", "mini_gap", "--weights", weights]
    command += ["--protocol", "released", "--limit", 520]
    both = finish(start(*TORCHRUN, 2, *command))
    shards = list(own_cache.glob("cache/shards/*/*.npz"))
    assert len(shards) == 3
    alone = finish(start(*command, CAMLIB_CACHE=str(tmp_path / "alone")))
    assert "520 images" in both
    assert both == alone


def test_the_trainings_of_a_profile_are_what_its_notebooks_train():
    found = list_trainings("full", check_data=False)
    lines = [describe_training(one) for one in found]
    assert len(set(lines)) == len(lines)
    assert lines[1] == "vgg16_gap, avg pooling, seed 0: finetune on ilsvrc2012, 6 of 8 epochs by recipe paper"
    heads = [(one.pool, one.seed) for one in found if one.model == "googlenet_gap"]
    assert sorted(heads) == [(pool, seed) for pool in ("avg", "max") for seed in (0, 1, 2)]
    mini = list_trainings("mini")
    assert {one.weights for one in mini} == {"train"}
    assert not any(one in mini[:n] for n, one in enumerate(mini))
    assert list_trainings("released", check_data=False) == []
