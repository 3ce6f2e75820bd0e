"""The quickstart's instrument: what it draws is what the library gives, and the network runs once per picture."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from camlib.boxes import largest_component_box, released_boxes, to_8_bit
from camlib.cam import resize_map
from camlib.explanation.instrument import Instrument, look_at, map_class
from camlib.models import build_model
from camlib.train import Network
from camlib.transforms import PRESETS, normalize_images, squash_image


@pytest.fixture
def network():
    torch.manual_seed(0)
    net = build_model("mini_gap", 4).eval()
    return Network(net, PRESETS["small"], ["cat", "dog", "<b>cup</b>", "hen"], [], "random")


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (*size, 3), np.uint8) for name, size in (("a", (90, 120)), ("b", (700, 500)))}


def test_the_map_of_a_class_is_the_networks(network, pictures):
    sight = look_at(network, pictures["a"], 64, "text")
    x = normalize_images(torch.tensor(squash_image(Image.fromarray(pictures["a"]), 64))[None], network.preset)
    logits, classes, maps = network.net.predict_with_cam(x, top=4)
    torch.testing.assert_close(sight.scores[classes[0]], logits.softmax(1)[0, classes[0]])
    for k, heatmap in zip(classes[0].tolist(), maps[0], strict=True):
        torch.testing.assert_close(torch.from_numpy(map_class(network, sight, k)), heatmap)


def test_controls_redraw_map_mask_and_box_without_another_pass(network, pictures, monkeypatch):
    found = Instrument(network, pictures, scales=(64, 96))
    assert found.shown.value == int(look_at(network, pictures["a"], 64, "text").scores.argmax())
    monkeypatch.setattr("camlib.explanation.instrument.look_at", None)  # another pass would fail
    before, drawn = found.panels.value, []
    for threshold in (0.2, 0.5, 0.8):
        found.threshold.value = threshold
        heatmap = resize_map(map_class(network, found.seen["a", 64, "text"], found.shown.value), (120, 90))
        x0, y0, x1, y1 = largest_component_box(heatmap, threshold)
        assert f"({x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f} px of 120 x 90)" in found.says.value
        drawn.append(found.panels.value)
    assert before == drawn[0]
    assert len(set(drawn)) == 3
    with Image.open(io.BytesIO(drawn[-1])) as panels:
        assert panels.size == (3 * 120 + 16, 90)
    found.shown.value = found.shown.options[-1][1]
    assert found.panels.value != drawn[-1]


def test_another_picture_begins_with_its_best_class_another_scale_keeps_it(network, pictures):
    found = Instrument(network, pictures, scales=(64, 96))
    found.picture.value = "b"
    best = int(look_at(network, found.pictures["b"], 64, "text").scores.argmax())
    assert found.shown.value == best
    assert found.pictures["b"].shape[0] <= 320
    last = found.shown.options[-1][1]
    found.shown.value = last
    found.scale.value = 96
    assert found.shown.value == last
    found.rule.value = "released"
    assert found.shown.value == last
    assert found.threshold.disabled
    raw = map_class(network, look_at(network, found.pictures["b"], 96, "released"), last)
    size = found.pictures["b"].shape[1::-1]
    x0, y0, x1, y1 = released_boxes(to_8_bit(raw, size))[0]
    assert f"({x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f} px" in found.says.value


def test_a_page_shows_how_it_begins(network, pictures):
    found = Instrument(network, pictures, scales=(64,))
    bundle = found._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).size == (3 * 120 + 16, 90)
    assert bundle["text/plain"].endswith("): map, mask and box")
    assert "application/vnd.jupyter.widget-view+json" in bundle
