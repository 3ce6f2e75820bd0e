"""What `explain` takes as a network, and classes by name."""

import copy
import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from camlib.models import GAPNet
from camlib.models.adapters import adapt_timm, adapt_torchvision
from camlib.train import Network, imagenet_names
from camlib.transforms import Preset, get_preset

OTHER_WAYS = "such networks need a gradient method, for example pytorch-grad-cam (pip install grad-cam)"


def wrap_network(net: Network | nn.Module, preset: str | Preset | None, names: Sequence[str] | None) -> Network:
    """A network with its preset and its class names, whatever `explain` was given. Raises ValueError as it says."""
    given = get_preset(preset) if isinstance(preset, str) else preset
    if isinstance(net, Network):
        network = net._replace(preset=given or net.preset, class_names=list(names or net.class_names))
    elif isinstance(net, nn.Module):
        kind = type(net).__name__
        timm_config = getattr(net, "pretrained_cfg", None)
        if given is None and timm_config:
            crop = timm_config["input_size"][-1]
            squash, interpolation = math.floor(crop / timm_config["crop_pct"]), timm_config["interpolation"]
            given = Preset(squash, crop, timm_config["mean"], timm_config["std"], interpolation=interpolation)
        if given is None:
            raise ValueError(f"nothing says how the input of this {kind} is preprocessed; expected preset=, such as "
                             '"imagenet" for the weights of torchvision')  # fmt: skip
        adapted = net if isinstance(net, GAPNet) else _adapt(net, given.crop)
        count = adapted.fc.out_features
        if names is None and count != 1000:
            raise ValueError(f"this {kind} has {count} classes; expected class_names with {count} names")
        network = Network(adapted, given, list(names or imagenet_names()), [], kind)
    else:
        raise ValueError(f"net is a {type(net).__name__}; expected what load_network gives, or a model of torch")
    count = network.net.fc.out_features
    if len(network.class_names) != count:
        raise ValueError(f"class_names are {len(network.class_names)}; the network has {count} classes")
    return network


def _adapt(net: Any, size: int) -> GAPNet:
    """A classifier of torchvision or timm as a GAPNet that shares nothing with it; checked on one random input."""
    own, name = copy.deepcopy(net).eval(), type(net).__name__
    try:
        if hasattr(net, "pretrained_cfg"):
            adapted = adapt_timm(name, own, "avg")
        else:
            adapted = adapt_torchvision(name.lower(), own, "avg")
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError) as error:  # what torch.fx can't follow
        raise ValueError(f"{error}; {OTHER_WAYS}") from error
    whole = copy.deepcopy(net).eval()
    place = next(net.parameters())
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(place.device, place.dtype)
    with torch.no_grad():
        expected, logits = whole(x), adapted.eval()(x)
    if not torch.allclose(expected, logits, rtol=1e-2, atol=1e-3 * float(expected.abs().max())):
        raise ValueError(f"{name} does not end in global average pooling and one linear layer; {OTHER_WAYS}")
    return adapted


def find_classes(asked: int | str | Sequence[int | str], names: Sequence[str]) -> list[int]:
    """Indices of classes asked for by index or name. A name may be one of several ("tench, Tinca tinca"), in any case.

    Raises ValueError for an index out of range, a name that several classes have, or an unknown one, with close names.
    """
    known: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        for word in dict.fromkeys(part.strip().lower() for part in [name, *name.split(",")]):
            known.setdefault(word, []).append(index)
    found = []
    for one in [asked] if isinstance(asked, int | str) else asked:
        if not isinstance(one, str):
            if not 0 <= int(one) < len(names):
                raise ValueError(f"class {one} is not in 0..{len(names) - 1}")
            found.append(int(one))
            continue
        fitting = known.get(one.strip().lower(), [])
        if len(fitting) > 1:
            raise ValueError(f"classes {' and '.join(map(str, fitting))} are both called {one!r}; give the index")
        if not fitting:
            close = [word for word in known if one.lower() in word.split()] or get_close_matches(one.lower(), known)
            close = (close or [word for word in known if one.lower() in word])[:5]
            raise ValueError(f"no class {one!r}" + (f"; did you mean {', '.join(close)}?" if close else ""))
        found += fitting
    if not found:
        raise ValueError("no classes are asked for; expected at least one, or None for the best")
    return list(dict.fromkeys(found))
