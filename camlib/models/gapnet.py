"""GAPNet: convolutional features, global pooling, one linear layer."""

from typing import Literal

import torch
from torch import Tensor, nn

from camlib.cam import class_activation_maps

Pool = Literal["avg", "max"]
PREPARE = "camlib.transforms makes an input of images: squash_image, centre_crop, normalize_images"


class GAPNet(nn.Module):
    """What a class activation map needs: feature maps f_k, their global pooling F_k, and a linear layer on F_k.

    `S_c = sum_k w_k^c F_k + b_c` with `F_k` the spatial mean (`pool="avg"`) or maximum (`"max"`) of feature map k
    (paper, Section 2). With "avg" the spatial mean of the class activation map plus the bias *is* the logit.
    """

    def __init__(self, backbone: nn.Module, fc: nn.Linear, pool: Pool = "avg", dropout: float = 0.0):
        super().__init__()
        if pool not in ("avg", "max"):
            raise ValueError(f"pool is {pool!r}; expected 'avg' or 'max'")
        self.backbone = backbone
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.fc = fc

    def features(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) float32, preprocessed -> last feature maps (B, K, h, w).

        Raises ValueError, saying what is expected, for what is no such tensor.
        """
        if not isinstance(x, Tensor):
            raise ValueError(f"the input is of type {type(x).__name__}; {PREPARE}")
        if not x.is_floating_point():
            raise ValueError(f"the input holds {x.dtype}, pixels perhaps; {PREPARE}")
        if x.ndim != 4:
            hint = "; one image becomes a batch by x[None]" if x.ndim == 3 else ""
            raise ValueError(f"the input has shape {tuple(x.shape)}; expected (B, 3, H, W){hint}")
        try:
            return self.backbone(x)
        except RuntimeError as error:
            if x.dtype != self.fc.weight.dtype:
                raise ValueError(
                    f"the input holds {x.dtype}, the network {self.fc.weight.dtype}: expected one"
                ) from error
            if x.shape[1] == 3:
                raise
            raise ValueError(f"the input has {x.shape[1]} channels, {tuple(x.shape)}; expected (B, 3, H, W)") from error

    def pool_features(self, features: Tensor) -> Tensor:
        """Feature maps (B, K, h, w) -> pooled features F_k (B, K)."""
        return features.mean((2, 3)) if self.pool == "avg" else features.amax((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        return self.fc(self.dropout(self.pool_features(self.features(x))))

    def predict_with_cam(self, x: Tensor, top: int = 5, classes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and the class activation maps of the `top` best classes, from one forward pass.

        x: images (B, 3, H, W). classes: (B, k) whole numbers, a tensor or lists, to ask for these instead of the best.
        Gradients are not kept.
        Returns logits (B, C), classes (B, k) best first, raw signed maps (B, k, h, w).
        Raises ValueError if the net is in training mode (dropout and batch statistics would make maps and logits
        disagree) or if `top` is not in 1..C.

            net = build_model("resnet50", weights="torchvision").eval()
            logits, classes, maps = net.predict_with_cam(images)
        """
        if self.training:
            raise ValueError("predict_with_cam needs the network in eval mode: call .eval() first")
        if classes is None and not (isinstance(top, int) and 1 <= top <= self.fc.out_features):
            raise ValueError(f"top is {top}; this network has {self.fc.out_features} classes")
        with torch.no_grad():
            features = self.features(x)  # (B, K, h, w)
            logits = self.fc(self.pool_features(features))  # (B, C)
            if classes is None:
                classes = logits.topk(top).indices  # (B, k)
            try:
                classes = torch.as_tensor(classes, device=logits.device)
            except (ValueError, TypeError, RuntimeError) as error:
                raise ValueError(f"classes are {classes!r}; expected whole numbers (B, k)") from error
            if classes.is_floating_point() or classes.dtype == torch.bool:
                raise ValueError(f"classes hold {classes.dtype}; expected whole numbers (B, k)")
            return logits, classes.long(), class_activation_maps(features, self.fc.weight, classes.long())


def identity_linear(num_classes: int) -> nn.Linear:
    """A frozen identity in the place of the class weights, for nets whose last maps are class maps already."""
    fc = nn.Linear(num_classes, num_classes)
    with torch.no_grad():
        nn.init.eye_(fc.weight)
        nn.init.zeros_(fc.bias)
    return fc.requires_grad_(False)
