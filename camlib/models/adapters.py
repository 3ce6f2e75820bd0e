"""Classifiers of torchvision and timm that end in GAP and one linear layer, as GAPNets; others are refused."""

from collections import OrderedDict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camlib.models.gapnet import GAPNet, Pool, identity_linear
from camlib.models.tensors import load_weights, read_weights


class FeaturesAt(nn.Module):
    """The part of a torchvision net that computes one node of its graph."""

    def __init__(self, net: nn.Module, node: str):
        from torchvision.models.feature_extraction import create_feature_extractor

        super().__init__()
        self.net = create_feature_extractor(net, {node: "features"})

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)["features"]


def build_torchvision(name: str, num_classes: int, weights: str | Path | None) -> nn.Module:
    """A torchvision classifier; weights as in `build_model`, of a file only whether there is one matters here."""
    import torchvision

    if weights == "torchvision":
        if num_classes != 1000:
            raise ValueError(f"torchvision's weights for {name} have 1000 classes; num_classes is {num_classes}")
        url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        try:
            return torchvision.models.get_model(name, weights="IMAGENET1K_V1")
        except (RuntimeError, OSError) as error:  # a damaged file; no connection
            raise ValueError(f"{file}: torchvision's weights can't be had from {url} ({error})") from error
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # Their ImageNet weights expect inputs rescaled inside the net. No tensor says so: it is fixed for all weights.
        options = {"init_weights": True, "aux_logits": False, "transform_input": True}
    return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)


def adapt_torchvision(name: str, net: Any, pool: Pool) -> GAPNet:
    """Read the net's graph backwards: linear layer, (dropout, flatten,) global average pool, last features."""
    if name.startswith("squeezenet"):  # conv 1x1, ReLU, GAP: the last maps are the class maps themselves
        backbone = nn.Sequential(OrderedDict(features=net.features, classifier=net.classifier[:3]))
        return GAPNet(backbone, identity_linear(net.classifier[1].out_channels), pool, dropout=0.0)

    from torchvision.models.feature_extraction import get_graph_node_names

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
    return GAPNet(FeaturesAt(net, nodes[-1]), fc, pool, dropout)


class _TimmFeatures(nn.Module):
    """The trunk of a timm classifier."""

    def __init__(self, net: Any):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.forward_features(x)


def adapt_timm(name: str, net: Any, pool: Pool) -> GAPNet:
    """A timm classifier as a GAPNet, if its logits are its classifier on the spatial mean of its last features.

    That is tried on one random image. Raises ValueError, saying what the net does instead.
    """
    refusal = f"timm/{name} does not end in global average pooling and one linear layer"
    fc = net.get_classifier()
    if not isinstance(fc, nn.Linear):
        raise ValueError(f"{refusal}: its classifier is {fc}")
    training = net.training
    net.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        x = torch.randn(1, *net.pretrained_cfg["input_size"])
        features, logits = net.forward_features(x), net(x)
        if features.ndim != 4 or features.shape[1] != fc.in_features:
            shape = tuple(features.shape)
            raise ValueError(f"{refusal}: its last features are {shape}, and its classifier takes {fc.in_features}")
        if not torch.allclose(fc(features.mean((2, 3))), logits, rtol=1e-3, atol=1e-4 * float(logits.abs().max())):
            raise ValueError(f"{refusal}: something stands between the pooling and the classifier")
    net.train(training)
    dropout = float(net.drop_rate)
    net.reset_classifier(0)
    return GAPNet(_TimmFeatures(net), fc, pool, dropout)


def build_timm(name: str, num_classes: int, weights: str | Path | None) -> nn.Module:
    """A timm classifier with random weights, or with timm's own ("timm", downloaded by it)."""
    import timm  # slow, and few need it

    if name not in timm.list_models():
        close = ", ".join(get_close_matches(name, timm.list_models()))
        raise ValueError(f"unknown model 'timm/{name}'; " + (f"did you mean {close}?" if close else "see timm's list"))
    if weights != "timm":
        return timm.create_model(name, num_classes=num_classes)
    adapt_timm(
        name, timm.create_model(name, num_classes=num_classes), "avg"
    )  # refused before the weights are downloaded
    try:
        return timm.create_model(name, pretrained=True, num_classes=num_classes)
    except (RuntimeError, OSError) as error:  # no weights of this name; no connection
        raise ValueError(f"timm/{name}: its weights can't be had ({error})") from error


def build_fc7(name: str, num_classes: int = 1000, weights: str | Path | None = None) -> GAPNet:
    """torchvision's AlexNet or VGG16 whole, its features up to fc7 and its ReLU: (B, 4096, 1, 1); 224 px.

    name: "alexnet_fc7" (features of the first row of Table 5) or "vgg16_fc7". The logits are the classifier's own: what
    the paper's Backprop rows and the fc rows of Table 1 take. There is no map to see: the fc layers took it away.
    weights: None (random), "torchvision", or a file, as of `build_model`. This AlexNet is not the paper's: it has one
    tower and no local response normalisation.
    """
    net: Any = build_torchvision(name.removesuffix("_fc7"), num_classes, weights)
    if weights not in (None, "torchvision"):
        load_weights(net, read_weights(weights), weights)
    layers = (net.features, net.avgpool, nn.Flatten(), *net.classifier[:6], nn.Unflatten(1, (4096, 1, 1)))
    return GAPNet(nn.Sequential(*layers), net.classifier[6])


def cut_class_maps(net: GAPNet) -> GAPNet:
    """A SqueezeNet whose features are the 512 maps before its 1x1 class convolution, which becomes the linear layer.

    Otherwise its features are the 1,000 maps of the ImageNet classes, after their ReLU.
    Raises ValueError for another network.
    """
    conv = dict(net.backbone.named_modules()).get("classifier.1")
    if not isinstance(conv, nn.Conv2d):
        raise ValueError("the network does not end in class maps; expected a squeezenet of build_model")
    fc = nn.Linear(conv.in_channels, conv.out_channels)
    fc.load_state_dict({"weight": conv.weight[:, :, 0, 0], "bias": conv.bias})
    return GAPNet(net.backbone.get_submodule("features"), fc, net.pool).train(net.training)


def dilate_last_stride(net: GAPNet) -> GAPNet:
    """The same weights on a grid twice as fine: the last stride of 2 becomes 1, and the kernels behind it dilate by 2.

    What the strided net sees in a cell, this net sees in every other cell; nothing is trained. It changes `net`.
    Raises ValueError for a net without a convolution of stride 2. The convolutions must stand in one chain.
    """
    convs = [module for module in net.backbone.modules() if isinstance(module, nn.Conv2d)]
    strided = [i for i, conv in enumerate(convs) if conv.stride == (2, 2)]
    if not strided:
        raise ValueError("no convolution of the network has stride 2; expected one to dilate what follows it")
    convs[strided[-1]].stride = (1, 1)
    for conv in convs[strided[-1] + 1 :]:
        if conv.kernel_size != (1, 1):
            conv.dilation, conv.padding = (tuple(2 * v for v in pair) for pair in (conv.dilation, conv.padding))  # type: ignore[assignment]
    return net
