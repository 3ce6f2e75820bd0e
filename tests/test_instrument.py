"""The quickstart's instrument: what it shows is what `explain` gives, and moving a control runs no network."""

import base64
import io

import numpy as np
import pytest
import torch
from builders import dataset_of
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from camlib.boxes import above_threshold
from camlib.explanation import explain
from camlib.explanation.instrument import GAP, LONGEST, Instrument
from camlib.models import build_model
from camlib.report.cells import arrange_cells
from camlib.train import Network
from camlib.transforms import Preset

NAMES = [f"class {k}" for k in range(7)]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network(build_model("mini_gap", 7).eval(), Preset(64, 64), NAMES, [], "small")


@pytest.fixture
def images():
    return dataset_of(np.random.default_rng(0).integers(0, 256, (3, 90, 90, 3), np.uint8), [0, 1, 2])


@pytest.fixture
def instrument(network, images):
    return Instrument(network, images, start=1)


def shown(instrument):
    return np.asarray(Image.open(io.BytesIO(instrument.picture.value)))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.35, 0.99])
def test_the_box_and_the_mask_are_those_of_the_text_rule(threshold, instrument, network, images):
    instrument.threshold.value = threshold
    for index in [index for _, index in instrument.shown.options]:
        instrument.shown.value = index
        (expected,) = explain(network, images[1], classes=index, threshold=threshold).classes
        assert instrument.boxes.tolist() == expected.boxes.tolist()
        share = above_threshold(expected.map, threshold).mean()
        assert f" {share:.0%} of the picture above {threshold:.0%} of the map's maximum" in instrument.caption.value


def test_left_is_the_map_and_right_the_picture_dark_outside_the_mask(instrument, network, images):
    instrument.threshold.value = 0.5
    best = explain(network, images[1]).classes[0]
    inside, picture = above_threshold(best.map, 0.5).astype(bool), np.asarray(images[1], float)
    assert shown(instrument).shape == (90, 2 * 90 + GAP, 3)
    right = shown(instrument)[:, 90 + GAP :].astype(float)
    assert picture[inside].mean() * 0.8 < right[inside].mean()
    assert right[~inside].mean() < picture[~inside].mean() * 0.5


def test_the_released_rule_fixes_the_thresholds_and_shows_two_boxes(instrument, network, images):
    instrument.rule.value = "released"
    assert instrument.threshold.disabled
    best = explain(network, images[1], rule="released").classes[0]
    assert instrument.boxes.tolist() == best.boxes.tolist()
    instrument.rule.value = "text"
    assert not instrument.threshold.disabled


def test_a_picture_is_looked_at_once_per_rule_and_input_size(instrument):
    features, calls = instrument.network.net.features, []
    instrument.network.net.features = lambda x: calls.append(x.shape[-1]) or features(x)
    try:
        pictures = {instrument.picture.value}
        for threshold in np.linspace(0, 0.99, 12):
            instrument.threshold.value = threshold
            pictures.add(instrument.picture.value)
        for _, index in instrument.shown.options:
            instrument.shown.value = index
            pictures.add(instrument.picture.value)
        assert calls == [], "a slider or a class runs no network"
        assert len(pictures) > 10, "each is another picture"
        instrument.scale.value = 128
        instrument.image.value = 0
        assert calls == [128, 128]
        instrument.image.value, instrument.scale.value = 1, 64
        assert calls == [128, 128], "what was seen before is kept"
    finally:
        instrument.network.net.features = features


def test_the_class_stays_where_another_input_has_it_among_its_best(instrument):
    third = instrument.shown.options[2][1]
    instrument.shown.value = third
    instrument.scale.value = 128
    assert instrument.shown.value == third, "all seven classes are among the ten best"


def test_a_large_picture_is_shrunk_first(network):
    large = dataset_of(np.random.default_rng(0).integers(0, 256, (1, 1000, 1000, 3), np.uint8), [0])
    assert shown(Instrument(network, large)).shape == (LONGEST, 2 * LONGEST + GAP, 3)


def test_there_must_be_an_image_to_start_with(network, images):
    with pytest.raises(IndexError, match="there is no image 3"):
        Instrument(network, images, start=3)


def test_a_page_without_scripts_shows_how_it_starts(instrument):
    """And no state of widgets is kept."""
    data, metadata = instrument._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data, "with a kernel it is a widget"
    output = new_output("display_data", data, metadata=metadata)
    _, sections = arrange_cells(new_notebook(cells=[new_code_cell("x", outputs=[output])]))
    (figure,) = [part for section in sections for part in section.parts if part.kind == "figure"]
    assert "rule: text; input: 64 px. Left: the map." in str(figure.content)
    still = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB"))
    live = shown(instrument)
    assert np.abs(still[:90, : live.shape[1]].astype(float) - live).mean() < 5
