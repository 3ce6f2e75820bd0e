"""A network over a dataset: the batched pass against image-by-image arithmetic; shards survive; bad maps are named."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from camlib import datasets, evaluate, metrics, store
from camlib.boxes import largest_component_box, released_boxes
from camlib.models import build_model
from camlib.transforms import Preset, centre_crop, normalize_images, squash_image

PRESET = Preset(squash=64, crop=48)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return build_model("mini_gap", 2).eval()


def by_hand(net, dataset, i, label, threshold):
    """One image at a time, from the equation: map, resize to the crop's window, threshold, box, back to the image."""
    image = torch.tensor(squash_image(dataset[i], 64))[None]
    x = normalize_images(centre_crop(image, 48), PRESET)
    features = net.features(x)[0].detach().numpy()  # (K, h, w)
    heatmap = np.tensordot(net.fc.weight[label].detach().numpy(), features, 1).astype(np.float32)
    width, height = dataset.sizes[i]
    if heatmap.max() <= 0:
        return np.array([0, 0, width, height])
    w, h = width * 48 / 64, height * 48 / 64
    resized = cv2.resize(heatmap, (max(1, round(w)), max(1, round(h))), interpolation=cv2.INTER_LINEAR)
    box = largest_component_box(resized, threshold)
    scale = np.array([w / resized.shape[1], h / resized.shape[0]] * 2)
    return box * scale + np.array([width / 8, height / 8] * 2)


def test_localize_equals_the_arithmetic_by_hand(net, folder_dataset):
    found = evaluate.localize(net, folder_dataset, PRESET, top=2, thresholds=(0.2, 0.4), batch_size=3)
    assert found.boxes.shape == (7, 2, 2, 4)
    for i in range(7):
        for t, threshold in enumerate((0.2, 0.4)):
            for j, label in enumerate(found.classes[i]):
                np.testing.assert_allclose(
                    found.boxes[i, j, t], by_hand(net, folder_dataset, i, label, threshold), atol=1e-3
                )
            known = by_hand(net, folder_dataset, i, folder_dataset.labels[i], threshold)
            np.testing.assert_allclose(found.known_boxes[i, t], known, atol=1e-3)
    single = evaluate.localize(net, folder_dataset, PRESET, top=2, thresholds=(0.4,))
    np.testing.assert_allclose(single.boxes[:, :, 0], found.boxes[:, :, 1], atol=1e-3)
    assert (found.scores[:, 0] >= found.scores[:, 1]).all()


def test_the_true_class_is_boxed_when_it_is_not_among_the_best(net, folder_dataset):
    found = evaluate.localize(net, folder_dataset, PRESET, top=1)
    assert (found.classes[:, 0] != folder_dataset.labels).any()
    for i in range(7):
        expected = by_hand(net, folder_dataset, i, folder_dataset.labels[i], 0.2)
        np.testing.assert_allclose(found.known_boxes[i, 0], expected, atol=1e-3)


def test_gradient_boxes_have_the_same_form(net, folder_dataset):
    found = evaluate.localize(net, folder_dataset, PRESET, top=2, method="gradient")
    assert found.boxes.shape == (7, 2, 1, 4)
    assert np.isfinite(found.boxes).all()


def test_finished_shards_are_not_run_again(tmp_path):
    calls = []

    def compute(indices):
        calls.append(indices.tolist())
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"double": indices * 2}

    with pytest.raises(KeyboardInterrupt):
        store.run_sharded("x", "key", 10, compute, shard=4)
    assert store.run_sharded("x", "key", 10, compute, shard=4)["double"].tolist() == list(range(0, 20, 2))
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [8, 9]]


def test_results_depend_on_weights_options_and_data_not_on_the_cache(net, folder_dataset, own_cache):
    first = evaluate.localize(net, folder_dataset, PRESET, top=2)
    with torch.no_grad():
        net.fc.weight.neg_()
    second = evaluate.localize(net, folder_dataset, PRESET, top=2)
    assert not np.array_equal(first.scores, second.scores)
    assert len(list((own_cache / "cache" / "shards").iterdir())) == 2


def test_a_map_that_is_not_finite_names_its_image(net, folder_dataset):
    with torch.no_grad():
        net.fc.weight[1, 0] = float("nan")
    with pytest.raises(ValueError, match="pictures, image picture_"):
        evaluate.localize(net, folder_dataset, PRESET, top=1)


def test_released_protocol_equals_its_steps_by_hand(net, folder_dataset):
    found = evaluate.localize_released(net, folder_dataset, PRESET, top=2)
    i = 4
    image = normalize_images(torch.tensor(squash_image(folder_dataset[i], 64))[None], PRESET)[0].numpy()
    total = np.zeros((2, 64, 64))
    scores, crops = [], []
    for y, x in ((0, 0), (0, 16), (16, 0), (16, 16), (8, 8)):
        crop = image[:, y : y + 48, x : x + 48]
        crops += [(y, x, False, crop), (y, x, True, crop[:, :, ::-1].copy())]
    for y, x, mirrored, crop in crops:
        features = net.features(torch.tensor(crop)[None])[0].detach()
        logits = features.mean((1, 2)) @ net.fc.weight.T.detach() + net.fc.bias.detach()
        scores.append(logits.softmax(0).numpy())
        for c in range(2):
            heatmap = np.tensordot(net.fc.weight[c].detach().numpy(), features.numpy(), 1)
            big = cv2.resize(heatmap, (48, 48), interpolation=cv2.INTER_LINEAR)
            total[c, y : y + 48, x : x + 48] += abs(big[:, ::-1] if mirrored else big)
    ranked = np.argsort(-np.mean(scores, 0))
    assert found.classes[i].tolist() == ranked.tolist()
    width, height = folder_dataset.sizes[i]
    for j, c in enumerate(ranked):
        resized = cv2.resize(total[c].astype(np.float32), (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
        expected = released_boxes(np.rint(resized / resized.max() * 255).astype(np.uint8))
        np.testing.assert_array_equal(found.loose[i, j], expected[0])
        np.testing.assert_array_equal(found.tight[i, j], expected[min(1, len(expected) - 1)])
        np.testing.assert_array_equal(found.text[i, j], largest_component_box(resized, 0.2))


def test_ways_of_the_release_share_one_pass_and_equal_it(net, folder_dataset):
    ways = evaluate.localize_ways(net, folder_dataset, PRESET, top=2)
    assert list(ways) == list(evaluate.WAYS)
    for merge in ("abs_sum", "mean"):
        alone = evaluate.localize_released(net, folder_dataset, PRESET, top=2, merge=merge)
        for field, value in vars(alone).items():
            np.testing.assert_array_equal(getattr(ways[10, merge], field), value)
    # One crop is the centre's: the text's rule on a signed map is `localize` on the squashed image.
    whole = replace(folder_dataset, sizes=np.tile([64, 64], (7, 1)))
    seen = evaluate.localize(net, whole, PRESET, top=2)
    np.testing.assert_array_equal(ways[1, "mean"].classes, seen.classes)
    one = evaluate.localize_ways(net, whole, PRESET, [(1, "mean")], top=2)[1, "mean"]
    positive = seen.boxes[:, :, 0, 2] < 64  # a map without evidence boxes all of the image, or of the crop
    np.testing.assert_array_equal(one.text[positive], seen.boxes[:, :, 0][positive])


def test_backprop_takes_the_same_crops_merge_and_boxes(net, folder_dataset):
    found = evaluate.localize_released(net, folder_dataset, PRESET, top=2, method="gradient", batch_size=3)
    i = 2
    image = normalize_images(torch.tensor(squash_image(folder_dataset[i], 64))[None], PRESET)
    for j, c in enumerate(found.classes[i].tolist()):
        total = torch.zeros(64, 64)
        for y, x in ((0, 0), (0, 16), (16, 0), (16, 16), (8, 8)):
            for mirrored in (False, True):
                crop = image[..., y : y + 48, x : x + 48]
                crop = (crop.flip(-1) if mirrored else crop).clone().requires_grad_()
                net(crop)[0, c].backward()
                saliency = crop.grad.abs().amax(1)[0]
                total[y : y + 48, x : x + 48] += saliency.flip(-1) if mirrored else saliency
        width, height = map(int, folder_dataset.sizes[i])
        resized = cv2.resize(total.numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        expected = released_boxes(np.rint(resized / resized.max() * 255).astype(np.uint8))
        np.testing.assert_array_equal(found.loose[i, j], expected[0])


def test_the_bias_can_be_left_out_and_maps_of_classes_compared(net, folder_dataset):
    with torch.no_grad():
        net.fc.bias.copy_(torch.tensor([100.0, 0.0]))
    found = evaluate.localize(net, folder_dataset, PRESET, top=2)
    assert (found.classes[:, 0] == 0).all()
    with torch.no_grad():
        net.fc.bias.zero_()
    plain = evaluate.localize(net, folder_dataset, PRESET, top=2)
    np.testing.assert_array_equal(found.unbiased, plain.classes[:, 0])
    assert ((found.correlation >= -1) & (found.correlation <= 1)).all()
    assert ((found.overlap >= 0) & (found.overlap <= 1)).all()


def test_iterated_maps_lie_in_the_window_of_the_crop(net, folder_dataset):
    maps = list(evaluate.iterate_maps(net, folder_dataset, PRESET))
    assert [m.shape[::-1] for m in maps] == [tuple(s) for s in folder_dataset.sizes]
    height = len(maps[0])
    border = maps[0][: height // 8]
    assert (border == min(0, maps[0].min())).all(), "nothing outside the crop is above the map's background"
    assert maps[0][height // 2].any()


def test_synthetic_data_are_localized_end_to_end(net):
    images = datasets.load("synthetic-objects", split="val", n=24)
    net = build_model("mini_gap", 12).eval()
    found = evaluate.localize(net, images, Preset(64, 64), thresholds=(0.2, 0.5))
    wrong = evaluate.wrong_over_thresholds(found, images)
    assert wrong["top-5 localization error"].shape == (24, 2)
    assert (wrong["top-5 localization error"] <= wrong["top-1 localization error"]).all()
    assert (wrong["top-5 classification error"] <= wrong["top-1 classification error"]).all()
    assert 0.2 <= metrics.fit_centre_fraction(images.sizes, images.boxes) <= 1


def test_unknown_sizes_are_read_from_the_files(folder_dataset):
    known = folder_dataset
    unknown = replace(known, sizes=np.zeros_like(known.sizes))
    net = build_model("mini_gap", 2).eval()
    preset = Preset(32, 32)
    for one, other in zip(
        evaluate.iterate_maps(net, known, preset), evaluate.iterate_maps(net, unknown, preset), strict=True
    ):
        assert np.array_equal(one, other)
    assert np.array_equal(
        evaluate.localize(net, known, preset).known_boxes, evaluate.localize(net, unknown, preset).known_boxes
    )
    crops = Preset(40, 32)
    assert np.array_equal(
        evaluate.localize_released(net, known, crops).loose, evaluate.localize_released(net, unknown, crops).loose
    )
    assert (unknown.sizes == 0).all(), "the dataset itself is left alone"
