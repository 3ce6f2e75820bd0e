"""The CAM equation against its identity, torchcam, Grad-CAM, hand-made maps; crops and merge against hand-placed."""

import itertools

import cv2
import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchcam.methods import CAM

from camlib import cam
from camlib.cam import class_activation_maps, merge_ten_crop, normalize_maps, resize_maps, ten_crop
from camlib.models import build_model


def test_maps_are_weighted_sums_computed_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -4.0]]]])  # (1, 2, 1, 2)
    weight = torch.tensor([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]])  # (3, 2)
    maps = class_activation_maps(features, weight, torch.tensor([[1, 2]]))
    assert maps.tolist() == [[[[-2.5, 5.0]], [[6.0, -8.0]]]]  # signed, no ReLU


def test_agrees_with_torchcam():
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(num_classes=10).eval()
    net = build_model("resnet18", num_classes=10).eval()
    net.backbone.net.load_state_dict(reference.state_dict(), strict=False)
    net.fc.load_state_dict(reference.fc.state_dict())
    image = torch.randn(1, 3, 224, 224)
    with CAM(reference, target_layer="layer4", fc_layer="fc") as extractor:
        scores = reference(image)
        theirs = extractor(class_idx=3, normalized=False)[0]  # (1, 7, 7)
    logits, _, maps = net.predict_with_cam(image, classes=torch.tensor([[3]]))
    torch.testing.assert_close(logits, scores.detach())
    torch.testing.assert_close(maps[0], theirs)
    assert theirs.min() < 0 < theirs.max()


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_grad_cam_is_cam_up_to_its_relu_and_a_constant(pool):
    """The score's gradient, averaged over the h x w cells of map k, is w_k / (h w), also if one cell gets all of it."""
    torch.manual_seed(0)
    net = build_model("resnet18", num_classes=10, pool=pool).eval()
    image = torch.randn(1, 3, 224, 224)
    ours = net.predict_with_cam(image, classes=torch.tensor([[3]]))[2][0, 0]  # (7, 7)
    with GradCAM(net, target_layers=[net.backbone]) as extractor:
        theirs = extractor(image, targets=[ClassifierOutputTarget(3)])[0]  # (224, 224), its own scale
        (activations,), (grads,) = (
            extractor.activations_and_grads.activations,
            extractor.activations_and_grads.gradients,
        )
        raw = extractor.get_cam_image(image, net.backbone, None, activations.numpy(), grads.numpy())[
            0
        ]  # (7, 7), before ReLU
    torch.testing.assert_close(torch.from_numpy(raw) * 49, ours, rtol=1e-4, atol=1e-5)
    assert ours.min() < 0 < ours.max()
    resized = torch.from_numpy(cv2.resize(ours.clamp(min=0).numpy(), (224, 224)))
    torch.testing.assert_close(torch.from_numpy(theirs), resized / resized.max(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "weight", "classes", "message"),
    [
        ((1, 4, 3, 3), (5, 6), [[0]], "do not fit"),
        ((1, 4, 3, 3), (5, 4), [[5]], "0..4"),
        ((1, 4, 3, 3), (5, 4), [[-1]], "0..4"),
        ((2, 4, 3, 3), (5, 4), [[0]], r"\(2, k\)"),
    ],
)
def test_wrong_shapes_and_classes_are_refused(features, weight, classes, message):
    with pytest.raises(ValueError, match=message):
        class_activation_maps(torch.zeros(features), torch.zeros(weight), torch.tensor(classes))


def test_normalisations_by_name():
    maps = torch.tensor([[[-2.0, 0.0, 2.0]], [[-3.0, -2.0, -1.0]], [[4.0, 4.0, 4.0]]])
    assert normalize_maps(maps, "max").tolist() == [[[-1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0]]]
    assert normalize_maps(maps, "minmax").tolist() == [[[0.0, 0.5, 1.0]], [[0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0]]]
    with pytest.raises(ValueError, match="'max' or 'minmax'"):
        normalize_maps(maps, "softmax")
    with pytest.raises(ValueError, match="NaN"):
        normalize_maps(torch.tensor([[float("nan")]]), "max")


def test_resize_keeps_leading_shape_and_constant_maps():
    maps = torch.full((2, 3, 4, 5), 1.5)
    assert resize_maps(maps, (9, 7)).shape == (2, 3, 9, 7)
    torch.testing.assert_close(resize_maps(maps, (9, 7)), torch.full((2, 3, 9, 7), 1.5))


def test_ten_crops_stand_where_torchvision_puts_them():
    images = torch.arange(2 * 3 * 8 * 8.0).reshape(2, 3, 8, 8)
    ours = ten_crop(images, 6)
    theirs = torch.stack(torchvision.transforms.functional.ten_crop(images, [6, 6]), 1)
    # torchvision crops the mirrored image, so its sixth crop mirrors the top right one; here 5-9 mirror 0-4 in order.
    torch.testing.assert_close(ours, theirs[:, [0, 1, 2, 3, 4, 6, 5, 8, 7, 9]])
    with pytest.raises(ValueError, match="do not fit"):
        ten_crop(images, 9)


def test_merge_undoes_the_crops():
    """Crops of a full map, merged by their mean, give the map back; summed, the map times its coverage."""
    full = torch.randn(1, 3, 8, 8)  # stands for k = 3 maps
    crops = ten_crop(full, 6)  # (1, 10, 3, 6, 6)
    torch.testing.assert_close(merge_ten_crop(crops, (8, 8), 6, "mean"), full)
    coverage = merge_ten_crop(torch.ones(1, 10, 1, 6, 6), (8, 8), 6)[0, 0]
    assert coverage[0, 0] == 2  # one corner crop and its mirror
    assert coverage[4, 4] == 10  # all ten
    torch.testing.assert_close(merge_ten_crop(crops, (8, 8), 6), full.abs() * coverage)
    with pytest.raises(ValueError, match="abs_sum"):
        merge_ten_crop(crops, (8, 8), 6, "median")
    with pytest.raises(ValueError, match="B, 10"):
        merge_ten_crop(crops[:, :5], (8, 8), 6)


def test_maps_of_classes_are_compared_pair_by_pair():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(3, 4, 5, 6))
    correlation, overlap = cam.compare_class_maps(torch.tensor(maps))
    for b in range(3):
        flat = maps[b].reshape(4, -1)
        inside = flat > 0.2 * flat.max(1, keepdims=True)
        pairs = list(itertools.combinations(range(4), 2))
        assert float(correlation[b]) == pytest.approx(np.mean([np.corrcoef(flat[[i, j]])[0, 1] for i, j in pairs]))
        ious = [(inside[i] & inside[j]).sum() / (inside[i] | inside[j]).sum() for i, j in pairs]
        assert float(overlap[b]) == pytest.approx(np.mean(ious))
    same = torch.ones(1, 2, 3, 3)
    assert [float(v) for v in cam.compare_class_maps(same)] == [0.0, 1.0], "constant maps: no correlation, all overlap"
