"""Checks of a reduced `pretrained` run on real photographs (`make sample` builds reports/sample, where they are)."""

import json
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[1] / "reports" / "sample"


def read_values(name):
    record = json.loads((SAMPLE / f"{name}.json").read_text())
    assert not any(value["synthetic"] for value in record["values"])
    return {(value["name"], value["model"]): value for value in record["values"]}


def test_a_ready_network_localizes_on_ilsvrc():
    values = read_values("01_ilsvrc_localization")
    error = values["top-1 classification error", "EfficientNet-Lite0"]
    assert 20 < error["value"] < 35
    assert "images" in error["paper"]["not_comparable"]
    assert "another network" in error["paper"]["not_comparable"]
    own, whole = (
        values["top-1 localization error", f"EfficientNet-Lite0{row}"]["value"] for row in ("", ", whole image as box")
    )
    assert own < whole, "its maps' boxes beat the whole image"


def test_birds_are_told_apart_and_localized():
    values = read_values("04_fine_grained")
    assert values["SVM accuracy", "full image"]["value"] > 60, "ten classes: chance is 10"
    assert values["birds localized", "CAM crop"]["value"] > 15


def test_maps_of_actions_are_measured_against_controls():
    values = read_values("05_action_objects")
    assert values["accuracy of the SVM on actions", "efficientnet_lite0"]["value"] > 50, "40 classes"
    assert ("mass outside the person's box", "reassigned class's map") in values
    assert ("p that it is more, apart", "own class's map") in values
