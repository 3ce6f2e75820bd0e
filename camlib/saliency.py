"""Gradient saliency, the baseline that the paper calls Backprop (paper, Section 3.2)."""

import torch
from torch import Tensor, nn


def gradient_saliency(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """`max over channels of |dS_c / dx|` with S_c the logit, not its softmax (Simonyan et al., 2014).

    model: any network in eval mode that gives logits (B, C). images (B, 3, H, W), preprocessed; the gradient is with
    respect to them as they are given. classes (B, k) int64 -> (B, k, H, W), >= 0, detached, one map per class.
    One forward pass; one backward pass for each of the k columns serves the whole batch, because in eval mode images
    are independent: the gradient of the summed logits gives each image its own gradient.
    Parameters need not require gradients, and gain none. Works under torch.no_grad().
    Raises ValueError if the model is in training mode, shapes do not fit, or a class is not one of the model's.

        maps = gradient_saliency(net, images, net(images).topk(5).indices)
    """
    if any(module.training for module in model.modules()):
        raise ValueError("gradient_saliency needs the network in eval mode: batch statistics would mix the images")
    if images.ndim != 4 or classes.ndim != 2 or len(classes) != len(images):
        raise ValueError(
            f"images {tuple(images.shape)} and classes {tuple(classes.shape)} do not fit: expected (B, 3, H, W), (B, k)"
        )
    with torch.enable_grad():
        x = images.detach().clone().requires_grad_()  # the caller's tensor keeps its flags
        logits = model(x)  # (B, C)
        if logits.ndim != 2 or len(logits) != len(images):
            raise ValueError(f"the model gave {tuple(logits.shape)}; expected logits ({len(images)}, C)")
        if classes.numel() and (int(classes.min()) < 0 or int(classes.max()) >= logits.shape[1]):
            raise ValueError(
                f"classes must be in 0..{logits.shape[1] - 1}, got {int(classes.min())}..{int(classes.max())}"
            )
        scores = logits.gather(1, classes).sum(0)  # (k,)
        maps = images.new_empty(len(images), classes.shape[1], *images.shape[2:])  # (B, k, H, W)
        for i, score in enumerate(scores):
            # `grad` for x alone, not `backward`: nothing is computed for, or left on, the parameters.
            (gradient,) = torch.autograd.grad(score, x, retain_graph=i + 1 < len(scores))  # (B, 3, H, W)
            maps[:, i] = gradient.abs().amax(1)
    return maps


def smooth_maps(maps: Tensor, sigma: float) -> Tensor:
    """Maps (..., H, W) smoothed by a Gaussian of `sigma` px, cut off at 3 sigma; 0 leaves them as they are.

    A raw gradient is speckled: the largest component above 20 % of its maximum is a speck.
    """
    if not sigma:
        return maps
    from torchvision.transforms.v2 import functional

    width = 2 * round(3 * sigma) + 1
    return functional.gaussian_blur(maps, [width, width], [sigma, sigma])
