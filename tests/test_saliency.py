"""Gradient saliency against finite differences and against networks whose gradient is known in closed form."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from camlib.models import GAPNet
from camlib.saliency import gradient_saliency, smooth_maps


def seeded(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tiny_net(pool: str = "avg") -> GAPNet:
    """Smooth (softplus), so that finite differences converge; float64; dropout and batch norm as in real nets."""
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.Conv2d(4, 5, 3, stride=2), nn.Softplus()
    )
    net = GAPNet(backbone, nn.Linear(5, 6), pool, dropout=0.5).double().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(seeded(i, *parameter.shape) * 0.5)
        net.backbone[1].running_mean.copy_(seeded(40, 4))
        net.backbone[1].running_var.copy_(seeded(41, 4).abs() + 0.5)
    return net


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_finite_differences(pool):
    net, images = tiny_net(pool), seeded(1, 2, 3, 6, 7)
    classes = torch.tensor([[4, 0, 4], [2, 5, 1]])
    expected = torch.empty(2, 3, 3, 6, 7, dtype=torch.float64)  # (B, k, channel, H, W): signed slopes of the logit
    step = 1e-5
    with torch.no_grad():
        for position in range(3 * 6 * 7):
            nudge = torch.zeros(3 * 6 * 7, dtype=torch.float64)
            nudge[position] = step
            nudge = nudge.reshape(1, 3, 6, 7)
            slope = (net(images + nudge) - net(images - nudge)) / (2 * step)  # (B, C)
            expected.view(2, 3, -1)[..., position] = slope.gather(1, classes)
    maps = gradient_saliency(net, images, classes)
    assert maps.shape == (2, 3, 6, 7)
    torch.testing.assert_close(maps, expected.abs().amax(2), rtol=1e-6, atol=1e-8)
    assert maps.std() > 0  # neither side is empty


def test_linear_model_has_its_weights_as_gradient():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 7)).double().eval()
    images, classes = seeded(2, 3, 3, 4, 5), torch.tensor([[6, 1], [0, 0], [3, 6]])
    weight = model[1].weight.detach().reshape(7, 3, 4, 5)
    # The logit's gradient: that of a softmax score would depend on the image and on the other classes' weights.
    torch.testing.assert_close(gradient_saliency(model, images, classes), weight[classes].abs().amax(2))


def test_an_image_is_not_moved_by_its_batch():
    net, images, classes = tiny_net(), seeded(3, 4, 3, 8, 8), torch.tensor([[0, 1], [2, 3], [4, 5], [1, 1]])
    alone = [gradient_saliency(net, images[i : i + 1], classes[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(gradient_saliency(net, images, classes), torch.cat(alone))


@pytest.mark.parametrize("trainable", [True, False])
def test_leaves_no_trace(trainable):
    net, images, classes = tiny_net().requires_grad_(trainable), seeded(4, 2, 3, 6, 6), torch.tensor([[1], [2]])
    state = {name: value.clone() for name, value in net.state_dict().items()}
    kept = images.clone()
    with torch.no_grad():
        maps = gradient_saliency(net, images, classes)
        assert not torch.is_grad_enabled()
    assert not maps.requires_grad
    assert not images.requires_grad
    assert images.grad is None
    assert torch.equal(images, kept)
    assert all(p.grad is None and p.requires_grad == trainable for p in net.parameters())
    assert not net.training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert (maps > 0).any()


def test_one_forward_pass_whatever_the_number_of_classes():
    net, calls = tiny_net(), []
    net.register_forward_hook(lambda *_: calls.append(1))
    gradient_saliency(net, seeded(5, 2, 3, 6, 6), torch.arange(6).repeat(2, 1))
    assert len(calls) == 1


def test_no_class_asked_gives_no_map():
    assert gradient_saliency(tiny_net(), seeded(6, 2, 3, 6, 6), torch.zeros(2, 0, dtype=torch.int64)).shape[1] == 0


@pytest.mark.parametrize("bad", [-1, 6])
def test_refuses_a_class_that_is_not_there(bad):
    with pytest.raises(ValueError, match=r"0\.\.5"):
        gradient_saliency(tiny_net(), seeded(7, 2, 3, 6, 6), torch.tensor([[0], [bad]]))


def test_refuses_training_mode():
    with pytest.raises(ValueError, match="eval mode"):
        gradient_saliency(tiny_net().train(), seeded(8, 2, 3, 6, 6), torch.tensor([[0], [1]]))


def test_refuses_shapes_that_do_not_fit():
    net, images = tiny_net(), seeded(9, 2, 3, 6, 6)
    for wrong in (torch.tensor([0, 1]), torch.tensor([[0]])):
        with pytest.raises(ValueError, match="do not fit"):
            gradient_saliency(net, images, wrong)
    with pytest.raises(ValueError, match="expected logits"):
        gradient_saliency(net.backbone, images, torch.tensor([[0], [1]]))


def test_smoothing_is_a_gaussian_of_so_many_pixels():
    maps = seeded(3, 1, 2, 60, 50).abs()
    smooth = smooth_maps(maps, 4)
    expected = gaussian_filter(maps[0, 1].numpy(), 4, mode="mirror", truncate=3)
    torch.testing.assert_close(smooth[0, 1], torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert smooth_maps(maps, 0) is maps
