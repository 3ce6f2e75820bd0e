"""What a profile does, counted by hand, and the probe."""

import re
import sys
from collections import Counter

import pytest

from camlib import cli
from camlib.report import estimate, plan


@pytest.mark.parametrize(("profile", "images", "epochs"), [("full", 1_281_167, 6), ("full-lite", 260_000, 4)])
def test_trainings_are_counted(profile, images, epochs):
    work = estimate.list_work(profile, check_data=False)
    assert work.passes["train", "vgg16_gap"] == epochs * images
    assert work.passes["train", "googlenet_gap"] == 6 * epochs * images, "two poolings, three seeds"
    assert work.passes["forward", "resnet50"] == 50_000, "one crop of the validation set"
    assert ("train", "resnet50") not in work.passes
    assert work.decoded >= images + 50_000
    assert work.stored >= 256**2 * (0.75 * images + 3 * 50_000)


def test_the_probe_is_made_once_and_the_hours_follow_from_it(own_cache, monkeypatch):
    monkeypatch.setattr(estimate, "SECONDS", 0.01)
    work = estimate.Work(Counter({("train", "mini_gap"): 3600, ("forward", "mini_gap"): 7200}), 36_000, 2 * 10**9)
    rates = estimate.probe_rates(work)
    assert set(rates) == {"decode", "train mini_gap", "forward mini_gap"}
    assert all(rate > 0 for rate in rates.values())
    monkeypatch.setattr(estimate, "list_work", lambda *_: work)
    monkeypatch.setattr(
        estimate, "probe_rates", lambda work: {"decode": 10, "train mini_gap": 2, "forward mini_gap": 1}
    )
    line = estimate.estimate_profile("mini")
    assert "training 0.5 h, evaluation 2.0 h, decoding 1.0 h; 2 GB of disk" in line
    monkeypatch.setattr(estimate, "probe_rates", None)
    assert estimate.estimate_profile("mini") == line
    monkeypatch.setattr(estimate, "list_gpus", lambda: ["GPU 0: another"])

    def fail(work):
        raise RuntimeError("CUDA out of memory\nmore")

    monkeypatch.setattr(estimate, "probe_rates", fail)
    assert estimate.estimate_profile("mini") == "no estimate for this machine: CUDA out of memory"


def test_what_a_profile_takes_is_said_before_its_data_are_there(own_cache, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path))
    monkeypatch.setattr(
        estimate, "probe_rates", lambda work: dict.fromkeys(["decode", *map(" ".join, work.passes)], 100)
    )
    monkeypatch.setattr(sys, "argv", ["camlib", "plan", "released"])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr()
    assert re.search(r"^rough estimate .* evaluation 4.6 h, decoding 0.1 h; 10 GB of disk", said.out)  # 3 x 11 x 50,000
    assert "released needs data that is not there: alexnet_star_gap, " in said.err


def test_only_long_profiles_are_probed():
    assert not plan.takes_hours("mini")
    assert [name for name, about in plan.read_profiles().items() if about.get("probe")] == [
        "full",
        "full-lite",
        "released",
    ]
