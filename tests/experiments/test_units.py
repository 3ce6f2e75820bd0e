"""Receptive fields, patches and units against planted images and other libraries."""

import numpy as np
import pytest
import torch
from builders import dataset_of
from sklearn.metrics import roc_auc_score
from torch import nn

from camlib.datasets import Dataset, load
from camlib.experiments import units
from camlib.models import GAPNet, build_model
from camlib.transforms import IMAGENET_MEAN, IMAGENET_STD, Preset

WHOLE = Preset(16, 16)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 2, 3, padding=1)], (3, 1, -1)),
        ([nn.Conv2d(3, 2, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1)], (7, 2, -3)),
        # 7x7/2 without padding, 3x3/2 max pooling rounded up, 5x5 pad 2: 7, then 7 + 2 * 2 = 11, then 11 + 4 * 4 = 27
        ([nn.Conv2d(3, 4, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 2, 5, padding=2)],
         (27, 4, -8)),
        ([nn.Conv2d(3, 2, 3, padding=2, dilation=2), nn.AvgPool2d(2)], (6, 2, -2)),
    ],
)  # fmt: skip
def test_receptive_field_is_the_analytic_one(layers, expected):
    torch.manual_seed(0)
    net = GAPNet(nn.Sequential(*layers), nn.Linear(2, 2))
    for dead in (False, True):
        if dead:  # the field is a matter of the structure, not of the weights
            for parameter in net.parameters():
                nn.init.zeros_(parameter)
        assert units.receptive_field(net) == expected


def test_receptive_field_of_real_structures():
    # squeezenet1_0: conv 7/2 without padding, then three pools 3/2 with 3, 4 and 1 fire modules of 3x3 after them
    assert units.receptive_field(build_model("squeezenet1_0"))[:2] == (7 + 4 + 3 * 8 + 8 + 4 * 16 + 16 + 32, 16)
    # five 3x3 convolutions, the first and the third of stride 2, each padded by 1
    assert units.receptive_field(build_model("mini_gap")) == (1 + 2 + 4 + 4 + 8 + 8, 4, -1 - 2 - 2 - 4 - 4)


def test_a_global_layer_has_no_receptive_field():
    class Brighten(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., ::4, ::4] + x.mean()

    with pytest.raises(ValueError, match="larger than 128 px"):
        units.receptive_field(GAPNet(Brighten(), nn.Linear(3, 2)), limit=128)


def planted() -> tuple[GAPNet, Dataset, list[tuple[int, int]]]:
    """Unit 0 answers to red 2x2 squares, unit 1 to green ones; the brighter the square the more."""
    conv = nn.Conv2d(3, 2, 2, stride=2)
    std, mean = torch.tensor(IMAGENET_STD), torch.tensor(IMAGENET_MEAN)
    with torch.no_grad():
        conv.weight.zero_()
        for unit in (0, 1):
            conv.weight[unit, unit] = 255 / 4 * std[unit]
        conv.bias.copy_(255 * mean[:2])
    images = np.zeros((5, 16, 16, 3), np.uint8)
    places = [(0, 0), (14, 14), (6, 2), (2, 10), (8, 8)]  # x, y
    for i, ((x, y), channel, value) in enumerate(zip(places, (0, 0, 1, 1, 0), (50, 200, 90, 250, 120), strict=True)):
        images[i, y : y + 2, x : x + 2, channel] = value
    return GAPNet(conv, nn.Linear(2, 2)).eval(), dataset_of(images, [0, 0, 1, 1, 0]), places


def test_top_patches_are_where_they_were_planted():
    net, images, places = planted()
    peaks = units.find_peaks(net, images, WHOLE, batch_size=2)
    np.testing.assert_allclose(peaks.responses, [[50, 0], [200, 0], [0, 90], [0, 250], [120, 0]], atol=1e-3)
    field = units.receptive_field(net)
    assert field == (2, 2, 0)
    chosen, boxes = units.top_patches(peaks, [1, 0], 2, field, images.sizes, WHOLE)
    assert chosen.tolist() == [[3, 2], [1, 4]]
    for i, box in zip(chosen.ravel(), boxes.reshape(-1, 4), strict=True):
        x, y = places[i]
        assert box.tolist() == [x, y, x + 2, y + 2]


def test_patches_are_cut_at_the_crop_and_scaled_to_the_image():
    peaks = units.UnitPeaks(np.array([[1.0]]), np.array([[[0, 3]]]))  # column 0, row 3 of the only unit
    field = units.ReceptiveField(
        size=6, stride=4, offset=-2
    )  # x from -2 to 4, y from 10 to 16: both partly outside of 14
    _, boxes = units.top_patches(peaks, [0], 1, field, np.array([[32, 64]]), Preset(16, 14))
    assert boxes.tolist() == [[[(0 + 1) * 2, (10 + 1) * 4, (4 + 1) * 2, (14 + 1) * 4]]]
    with pytest.raises(ValueError, match=r"n is 2; expected 1\.\.1"):
        units.top_patches(peaks, [0], 2, field, np.array([[32, 64]]), Preset(16, 14))


def test_units_are_ranked_by_weight():
    assert units.rank_units([[0.1, 0.5, -2.0, 0.4], [1.0, -1, 3, 0]], 2).tolist() == [[1, 3], [2, 0]]
    with pytest.raises(ValueError, match=r"count is 5; expected \(C, K\) and 1\.\.K"):
        units.rank_units(np.zeros((2, 4)), 5)


def test_area_under_the_curve_is_sklearns():
    rng = np.random.default_rng(0)
    responses, labels = rng.integers(0, 6, (40, 5)).astype(float), rng.choice([0, 1, 3], 40)  # with many ties
    areas = units.unit_auc(responses, labels)
    expected = [[roc_auc_score(labels == c, responses[:, u]) for u in range(5)] for c in (0, 1, 3)]
    np.testing.assert_allclose(areas, expected)
    with pytest.raises(ValueError, match="hold 1 class"):
        units.unit_auc(responses, np.zeros(40, int))


def test_the_strongest_image_of_a_unit_has_a_class():
    peaks = units.UnitPeaks(np.array([[1.0, 5], [3, 0], [2, 0]]), np.zeros((3, 2, 2), int))
    assert units.strongest_own(peaks, np.array([4, 2, 2])).tolist() == [[True, False], [False, True]]


def test_peaks_lie_where_they_were_planted():
    net, images, places = planted()
    peaks, field = units.find_peaks(net, images, WHOLE), units.receptive_field(net)
    squares, elsewhere = np.zeros((2, 5, 16, 16), bool)
    for mask, (x, y) in zip(squares, places, strict=True):
        mask[y : y + 2, x : x + 2] = True
    elsewhere[:, :, 15] = True
    hits = units.peak_regions(peaks, images, field, WHOLE, [squares, elsewhere])
    assert hits.shape == (2, 5, 2)
    assert hits[0][[0, 1, 4], 0].all(), "the red squares"
    assert hits[0][[2, 3], 1].all(), "the green ones"
    assert hits[1][:, 0].tolist() == [False, True, False, False, False], "the square at (14, 14) reaches column 15"


def test_a_unit_of_one_part_lies_on_it_every_time():
    """Unit 0 peaks on region 0 in each image, unit 1 on the regions in turn; the weakest image is left out."""
    peaks = units.UnitPeaks(np.array([[3.0, 3], [2, 2], [1, 1], [5, 5]]), np.zeros((4, 2, 2), int))
    hits = np.zeros((2, 4, 2), bool)
    hits[0, [0, 1, 3], 0] = hits[0, [0, 3], 1] = hits[1, 1, 1] = True
    shares = units.share_on_one(hits, peaks, np.array([7, 7, 7, 1]), 2)
    assert shares.tolist() == [[1, 1], [1, 0.5]]
    assert units.share_on_one(hits, peaks, np.array([7, 7, 7, 1]), 9)[1].tolist() == [2 / 3, 1 / 3]


def test_occlusion_finds_what_a_unit_answers_to():
    """A unit of 2x2 px at a grid of cells of 2 px: hidden wholly at the peak, half beside it, a quarter at corners."""
    net, images, places = planted()
    peaks, field = units.find_peaks(net, images, WHOLE), units.receptive_field(net)
    fields = units.find_fields(net, images, WHOLE, peaks, field, [1, 0], 1, 8)
    assert fields.shape == (2, 15, 15)
    around = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])
    np.testing.assert_allclose(fields[0, 6:9, 6:9], around, atol=1e-5)
    np.testing.assert_allclose(fields[1, 6:8, 6:8], around[:2, :2], atol=1e-5)  # at the border of the image
    np.testing.assert_allclose(fields.sum((1, 2)), [4, 2.25], atol=1e-4)
    masks = units.segment_fields(fields)
    assert units.measure_fields(masks, WHOLE).tolist() == [2, 2]
    where = np.array([[3], [1]])
    pictures = units.cut_segments(images, where, [1, 0], masks, peaks, field, WHOLE)
    assert [picture.shape for picture in pictures] == [(2, 2, 3)] * 2
    assert (pictures[0] == [0, 250, 0]).all()
    assert (pictures[1] == [200, 0, 0]).all()
    wider = masks.copy()
    wider[0, 7, 8] = wider[0, 8, 7] = True  # an L: the fourth cell is grey
    (picture,) = units.cut_segments(images, where[:1], [1], wider[:1], peaks, field, WHOLE)
    assert picture.shape == (4, 4, 3)
    assert (picture[2:, 2:] == units.GREY).all()
    assert (picture[:2, 2:] == 0).all()
    assert places[3] == (2, 10)


def test_a_unit_that_nothing_changes_keeps_its_peak():
    assert units.segment_fields(np.zeros((1, 5, 5))).sum() == 1


def test_drawn_objects_tell_their_parts_apart():
    images = load("synthetic-objects", n=12)
    masks = images.extras["masks"]
    parts = [masks[f"part {k}"] for k in (1, 2, 3)]
    assert (np.sum(parts, axis=0) <= 1).all()
    assert not (np.any(parts, axis=0) & ~masks["object"]).any()
    assert all(part.any((1, 2)).all() for part in parts)
