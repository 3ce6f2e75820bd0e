"""GAPNet and the networks of the paper (Section 3, and the released prototxts for what the text leaves open)."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from camlib.cam import class_activation_maps

Pool = Literal["avg", "max"]


class GAPNet(nn.Module):
    """Convolutional features, global pooling, one linear layer: what a class activation map needs.

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
        """Images (B, 3, H, W) float32, preprocessed -> last feature maps (B, K, h, w)."""
        return self.backbone(x)

    def pool_features(self, features: Tensor) -> Tensor:
        """Feature maps (B, K, h, w) -> pooled features F_k (B, K)."""
        return features.mean((2, 3)) if self.pool == "avg" else features.amax((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, C)."""
        return self.fc(self.dropout(self.pool_features(self.features(x))))

    def predict_with_cam(self, x: Tensor, top: int = 5, classes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits and the class activation maps of the `top` best classes, from one forward pass.

        x: images (B, 3, H, W). classes: (B, k) int64, to ask for these instead of the best. Gradients are not kept.
        Returns logits (B, C), classes (B, k) best first, raw signed maps (B, k, h, w).
        Raises ValueError if the net is in training mode (dropout and batch statistics would make maps and logits
        disagree) or if `top` is not in 1..C.

            net = build_model("resnet50", weights="torchvision").eval()
            logits, classes, maps = net.predict_with_cam(images)
        """
        if self.training:
            raise ValueError("predict_with_cam needs the network in eval mode: call .eval() first")
        if classes is None and not 1 <= top <= self.fc.out_features:
            raise ValueError(f"top is {top}; this network has {self.fc.out_features} classes")
        with torch.no_grad():
            features = self.features(x)  # (B, K, h, w)
            logits = self.fc(self.pool_features(features))  # (B, C)
            if classes is None:
                classes = logits.topk(top).indices  # (B, k)
            return logits, classes, class_activation_maps(features, self.fc.weight, classes)


def _conv_relu(c_in: int, c_out: int, kernel: int, *, relu: bool = True, **conv: int) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, **conv), nn.ReLU(inplace=True)][: 2 if relu else 1]  # type: ignore[arg-type]


def _lrn() -> nn.Module:
    return nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75)


def _pool(stride: int = 2) -> nn.Module:
    return nn.MaxPool2d(3, stride, ceil_mode=True)  # Caffe rounds pooling sizes up


def alexnet_star_backbone() -> nn.Sequential:
    """AlexNet*-GAP up to conv7, layers named as in the released prototxt; 227 px -> (512, 11, 11)."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, stride=4), relu1=nn.ReLU(True), pool1=_pool(), norm1=_lrn(),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2), relu2=nn.ReLU(True), pool2=_pool(), norm2=_lrn(),
            conv3=nn.Conv2d(256, 384, 3, padding=1), relu3=nn.ReLU(True),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2), relu4=nn.ReLU(True),
            conv5=nn.Conv2d(384, 384, 3, padding=1, groups=2), relu5=nn.ReLU(True), pool5=_pool(stride=1),
            conv6=nn.Conv2d(384, 512, 3, padding=1, groups=2), relu6=nn.ReLU(True),
            conv7=nn.Conv2d(512, 512, 3, padding=1, groups=2), relu7=nn.ReLU(True),
        )
    )  # fmt: skip


def _alexnet_star_gap(num_classes: int, pool: Pool) -> GAPNet:
    return GAPNet(alexnet_star_backbone(), nn.Linear(512, num_classes), pool, dropout=0.5)


def _add_cam_conv(backbone: nn.Module, channels: int) -> nn.Sequential:
    """The paper's addition: one 3x3 convolution with 1024 units (gaussian 0.01, released recipe) and its ReLU."""
    cam_conv = nn.Conv2d(channels, 1024, 3, padding=1)
    nn.init.normal_(cam_conv.weight, std=0.01)
    nn.init.zeros_(cam_conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(OrderedDict(cut=backbone, CAM_conv=cam_conv, relu=nn.ReLU(True)))


def _nin(num_classes: int, pool: Pool) -> GAPNet:
    """Network in Network (ImageNet model of its authors): the class maps are pooled as they are; 224 px -> 6x6."""
    backbone = nn.Sequential(
        *_conv_relu(3, 96, 11, stride=4), *_conv_relu(96, 96, 1), *_conv_relu(96, 96, 1), _pool(),
        *_conv_relu(96, 256, 5, padding=2), *_conv_relu(256, 256, 1), *_conv_relu(256, 256, 1), _pool(),
        *_conv_relu(256, 384, 3, padding=1), *_conv_relu(384, 384, 1), *_conv_relu(384, 384, 1), _pool(),
        nn.Dropout(0.5),
        *_conv_relu(384, 1024, 3, padding=1), *_conv_relu(1024, 1024, 1), *_conv_relu(1024, num_classes, 1),
    )  # fmt: skip
    return GAPNet(backbone, identity_linear(num_classes), pool)


def _conv_stack(channels: tuple[int, ...], strides: tuple[int, ...], num_classes: int, pool: Pool) -> GAPNet:
    layers: list[nn.Module] = []
    for c_in, c_out, stride in zip((3, *channels), channels, strides, strict=False):
        conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
    return GAPNet(nn.Sequential(*layers), nn.Linear(channels[-1], num_classes), pool)


def _mini_gap(num_classes: int, pool: Pool) -> GAPNet:
    """Five convolutions for the embedded data: 64 px -> (64, 16, 16)."""
    return _conv_stack((16, 32, 48, 64, 64), (2, 1, 2, 1, 1), num_classes, pool)


def _tiny_gap(num_classes: int, pool: Pool) -> GAPNet:
    """Seven convolutions for small photographs: 64 px -> (128, 16, 16)."""
    return _conv_stack((32, 48, 64, 64, 96, 96, 128), (2, 1, 2, 1, 1, 1, 1), num_classes, pool)


def identity_linear(num_classes: int) -> nn.Linear:
    """A frozen identity in the place of the class weights, for nets whose last maps are class maps already."""
    fc = nn.Linear(num_classes, num_classes)
    with torch.no_grad():
        nn.init.eye_(fc.weight)
        nn.init.zeros_(fc.bias)
    return fc.requires_grad_(False)


# Nets of the paper that are a torchvision classifier cut short:
# (torchvision's name, the node it is cut after, channels there, dropout).
CUT_MODELS: dict[str, tuple[str, str, int, float]] = {
    "alexnet_gap": ("alexnet", "features.11", 256, 0.0),  # conv5 and its ReLU: 13x13
    "vgg16_gap": ("vgg16", "features.29", 512, 0.5),  # conv5_3 and its ReLU: 14x14
    "googlenet_gap": ("googlenet", "inception4e.cat", 832, 0.0),  # 14x14
}
OWN_MODELS: dict[str, Callable[[int, Pool], GAPNet]] = {
    "alexnet_star_gap": _alexnet_star_gap,
    "nin": _nin,
    "mini_gap": _mini_gap,
    "tiny_gap": _tiny_gap,
}


def build_model(name: str, num_classes: int = 1000, pool: Pool = "avg", weights: str | Path | None = None) -> GAPNet:
    """A network of the paper, or a torchvision classifier that ends in GAP and one linear layer, as a GAPNet.

    name: alexnet_gap, alexnet_star_gap, vgg16_gap, googlenet_gap, nin, mini_gap, tiny_gap, or torchvision's own
        (resnet50, googlenet, densenet121, squeezenet1_0, ...).
    weights: None (random), "torchvision" (its ImageNet weights; for the *_gap nets of the paper they fill the layers
        before the cut), or a file: safetensors, or a state dict that torch.load(weights_only=True) takes, with the keys
        of this GAPNet or of torchvision's model.
    Raises ValueError for an unknown name, a net that does not end in GAP + one linear layer (with what it ends in), or
    a file that lacks tensors, has others, or has them in another shape (naming them); FileNotFoundError for no file.

    The 3x3 layer that the paper adds has no groups here (the text); the released files' groups are in camlib.caffe.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1")
    if name in OWN_MODELS:
        if weights == "torchvision":
            raise ValueError(f"torchvision has no weights for {name}; expected None or a file")
        net = OWN_MODELS[name](num_classes, pool)
        if weights is not None:
            load_weights(net, read_weights(weights), weights)
        return net

    state = None if weights in (None, "torchvision") else read_weights(weights)
    own_keys = state is not None and any(key.startswith("backbone.") for key in state)
    torchvision_name = CUT_MODELS[name][0] if name in CUT_MODELS else name
    whole = _torchvision_model(torchvision_name, 1000 if name in CUT_MODELS else num_classes, weights)
    if state is not None and not own_keys:
        aux = ("aux1.", "aux2.", "AuxLogits.")  # the training-time heads of the Inception family: not part of the net
        load_weights(whole, {k: v for k, v in state.items() if not k.startswith(aux)}, weights)
    if name in CUT_MODELS:
        _, node, channels, dropout = CUT_MODELS[name]
        backbone = _add_cam_conv(_FeaturesAt(whole, node), channels)
        net = GAPNet(backbone, nn.Linear(1024, num_classes), pool, dropout)
    else:
        net = _adapt_torchvision(name, whole, pool)
    if own_keys:
        load_weights(net, state, weights)  # type: ignore[arg-type]
    return net


def _torchvision_model(name: str, num_classes: int, weights: str | Path | None) -> nn.Module:
    if name not in torchvision.models.list_models(module=torchvision.models):
        known = ", ".join([*CUT_MODELS, *OWN_MODELS])
        raise ValueError(f"unknown model {name!r}; expected one of {known}, or a torchvision classification model")
    if weights == "torchvision":
        if num_classes != 1000:
            raise ValueError(f"torchvision's weights for {name} have 1000 classes; num_classes is {num_classes}")
        return torchvision.models.get_model(name, weights="IMAGENET1K_V1")
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # Their ImageNet weights expect inputs rescaled inside the net.
        options = {"init_weights": True, "aux_logits": False, "transform_input": weights is not None}
    return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)


class _FeaturesAt(nn.Module):
    """The part of a torchvision net that computes one node of its graph."""

    def __init__(self, net: nn.Module, node: str):
        super().__init__()
        self.net = create_feature_extractor(net, {node: "features"})

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)["features"]


def _adapt_torchvision(name: str, net: Any, pool: Pool) -> GAPNet:
    """Read the net's graph backwards: linear layer, (dropout, flatten,) global average pool, last features."""
    if name.startswith("squeezenet"):  # conv 1x1, ReLU, GAP: the last maps are the class maps themselves
        backbone = nn.Sequential(OrderedDict(features=net.features, classifier=net.classifier[:3]))
        return GAPNet(backbone, identity_linear(net.classifier[1].out_channels), pool, dropout=0.0)

    _, nodes = get_graph_node_names(net)
    modules = dict(net.named_modules())
    refusal = f"{name} does not end in global average pooling and one linear layer"
    fc = modules.get(nodes.pop())
    if not isinstance(fc, nn.Linear):
        raise ValueError(f"{refusal}: its last layer is {fc}")
    dropout = 0.0
    while nodes:
        node = nodes.pop()
        module = modules.get(node)
        if isinstance(module, nn.Dropout):
            dropout = module.p
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            if module.output_size not in (1, (1, 1)):
                raise ValueError(f"{refusal}: {node} pools to {module.output_size}")
            break
        elif node in ("adaptive_avg_pool2d", "mean"):  # written as functions in densenet, mobilenet_v2, shufflenet, ...
            break
        elif not (isinstance(module, nn.Flatten) or node == "flatten"):
            raise ValueError(f"{refusal}: {node} ({module or 'a function'}) stands before the last linear layer")
    return GAPNet(_FeaturesAt(net, nodes[-1]), fc, pool, dropout)


def alexnet_fc7(weights: str | Path | None = None) -> GAPNet:
    """torchvision's AlexNet up to fc7 and its ReLU: features (B, 4096, 1, 1), the first row of Table 5; 224 px.

    weights: None (random), "torchvision", or a file, as of `build_model`.
    """
    net = torchvision.models.alexnet(weights="IMAGENET1K_V1" if weights == "torchvision" else None)
    if weights not in (None, "torchvision"):
        load_weights(net, read_weights(weights), weights)
    layers = (net.features, net.avgpool, nn.Flatten(), *net.classifier[:6], nn.Unflatten(1, (4096, 1, 1)))
    return GAPNet(nn.Sequential(*layers), net.classifier[6])


def cut_class_maps(net: GAPNet) -> GAPNet:
    """A SqueezeNet whose features are the 512 maps before its 1x1 class convolution, which becomes the linear layer.

    As `build_model` gives it, its features are the 1,000 maps of the ImageNet classes, after their ReLU.
    ValueError for another network.
    """
    conv = dict(net.backbone.named_modules()).get("classifier.1")
    if not isinstance(conv, nn.Conv2d):
        raise ValueError("the network does not end in class maps; expected a squeezenet of build_model")
    fc = nn.Linear(conv.in_channels, conv.out_channels)
    fc.load_state_dict({"weight": conv.weight[:, :, 0, 0], "bias": conv.bias})
    return GAPNet(net.backbone.get_submodule("features"), fc, net.pool).train(net.training)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read tensors from a safetensors file, or from a state dict saved by torch (nothing is unpickled but tensors)."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is not a whole weights file: {error}") from error
    return state


def load_weights(net: nn.Module, state: dict[str, Tensor], path: object) -> None:
    """Fill `net` from `state`; every tensor must be there in its shape, and no other."""
    own = net.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in state and not key.endswith("num_batches_tracked")]
    wrong += [f"{key} is not part of the network" for key in state if key not in own]
    wrong += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if wrong:
        more = f" (and {len(wrong) - 6} more)" if len(wrong) > 6 else ""
        raise ValueError(f"{path} does not fit {type(net).__name__}: {'; '.join(wrong[:6])}{more}")
    net.load_state_dict(state, strict=False)
