"""The authors' released caffemodels as GAPNets: the file format, and the three networks in Caffe's arithmetic."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from torch import Tensor, nn
from torch.nn import functional as F

from camlib.models import GAPNet, alexnet_star_backbone, ceil_pool, lrn, refuse_misfits

# The released networks. `classifier` is the Caffe layer that becomes GAPNet.fc; `preset` (camlib.transforms) is their
# input: BGR 0..255 minus (104, 117, 123).
RELEASED: dict[str, dict[str, Any]] = {
    "googlenet_gap": {"preset": "caffe224", "classifier": "CAM_fc", "channels": 1024, "dropout": 0.0},
    "vgg16_gap": {"preset": "caffe224", "classifier": "CAM_fc", "channels": 1024, "dropout": 0.5},
    "alexnet_star_gap": {"preset": "caffe227", "classifier": "fc9", "channels": 512, "dropout": 0.5},
}
# The same two networks trained on the 205 scenes of Places, AlexNet* without dropout.
RELEASED["googlenet_gap_places"] = RELEASED["googlenet_gap"]
RELEASED["alexnet_star_gap_places"] = RELEASED["alexnet_star_gap"] | {"dropout": 0.0}

# Each Inception's outputs: 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj (GoogLeNet, CVPR 2015, Table 1).
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
}

_FIELD = descriptor_pb2.FieldDescriptorProto
_INT32, _INT64, _BYTES, _MESSAGE = _FIELD.TYPE_INT32, _FIELD.TYPE_INT64, _FIELD.TYPE_BYTES, _FIELD.TYPE_MESSAGE

# What is read of caffe.proto: message -> (field, number, type, repeated, message type). A packed float field lies on
# disk exactly like bytes, so numpy takes it whole; repeated, since an encoder may split it into pieces.
_SCHEMA: dict[str, list[tuple[str, int, Any, bool, str | None]]] = {
    "BlobShape": [("dim", 1, _INT64, True, None)],
    "BlobProto": [
        ("num", 1, _INT32, False, None),
        ("channels", 2, _INT32, False, None),
        ("height", 3, _INT32, False, None),
        ("width", 4, _INT32, False, None),
        ("data", 5, _BYTES, True, None),
        ("shape", 7, _MESSAGE, False, "BlobShape"),
    ],
    "V1LayerParameter": [("name", 4, _BYTES, False, None), ("blobs", 6, _MESSAGE, True, "BlobProto")],
    "LayerParameter": [("name", 1, _BYTES, False, None), ("blobs", 7, _MESSAGE, True, "BlobProto")],
    "NetParameter": [
        ("layers", 2, _MESSAGE, True, "V1LayerParameter"),
        ("layer", 100, _MESSAGE, True, "LayerParameter"),
    ],
}


@cache
def _net_parameter() -> Any:
    """The NetParameter message class, in a pool of its own (Caffe's schema may be loaded in the same process)."""
    file = descriptor_pb2.FileDescriptorProto(name="camlib_caffe.proto", package="camlib_caffe", syntax="proto2")
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for field_name, number, kind, repeated, type_name in fields:
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, type=kind, label=label)
            if type_name:
                field.type_name = f".camlib_caffe.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("camlib_caffe.NetParameter"))


def _blob_array(blob: Any, index: int) -> np.ndarray:
    """One BlobProto -> float32 array in its own shape; ValueError if the shape and the data disagree."""
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:  # old files: always four numbers, padded with ones in front
        shape = (blob.num, blob.channels, blob.height, blob.width)
        if shape[:2] == (1, 1):  # the weight of a fully connected layer (1, 1, M, N), or a bias (1, 1, 1, N)
            shape = shape[3:] if index and shape[2] == 1 else shape[2:]
    data = b"".join(blob.data)
    if min(shape, default=0) < 0 or len(data) != 4 * math.prod(shape):
        raise ValueError(f"blob {index} has shape {shape} but {len(data) / 4:g} float32 values")
    return np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)  # a copy: writable, in native byte order


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Layer name -> its blobs (weight, then bias) as float32 arrays in Caffe's shapes, in the order of the file.

    Reads both layer forms (`layers`, V1, and `layer`) by the protobuf library; layers without blobs are left out, and
    so is everything else in the file. Convolutions are (out, in / groups, kh, kw), fully connected weights (out, in),
    biases (out,): old files pad the latter two to four dimensions, which is undone here (the first blob of a layer
    keeps at least two dimensions).
    Raises FileNotFoundError for no file; ValueError, naming the file, for one that is not a whole caffemodel (with the
    last layer that could be read), holds no weights, has a blob whose shape and data disagree, or repeats a layer.
    A file cut exactly between two layers is valid protobuf: only what needs the missing layers can tell, and does.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"caffemodel not found: {path}")
    net = _net_parameter()()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError as error:
        names = [layer.name.decode(errors="replace") for layer in [*net.layers, *net.layer] if layer.name]
        last = f"the last layer that could be read is {names[-1]}" if names else "no layer could be read"
        raise ValueError(f"{path} is not a whole caffemodel (truncated or damaged): {last}") from error

    blobs: dict[str, list[np.ndarray]] = {}
    for layer in [*net.layers, *net.layer]:
        if not layer.blobs:
            continue
        name = layer.name.decode(errors="replace")
        if name in blobs:
            raise ValueError(f"{path}: layer {name} is there twice")
        try:
            blobs[name] = [_blob_array(blob, index) for index, blob in enumerate(layer.blobs)]
        except ValueError as error:
            raise ValueError(f"{path}: layer {name}: {error}") from error
    if not blobs:
        raise ValueError(f"{path} holds no layer with weights; expected a caffemodel (protobuf NetParameter)")
    return blobs


def _released_facts(name: str) -> dict[str, Any]:
    if name not in RELEASED:
        raise ValueError(f"no weights of {name!r} were released; expected one of {', '.join(RELEASED)}")
    return RELEASED[name]


# A convolution's place in the backbone is its Caffe layer's name ("inception_3a.1x1" is inception_3a/1x1): that is how
# load_released finds its weights.


class _Inception(nn.ModuleDict):
    """GoogLeNet's module as in Caffe: a real 5x5 branch and no batch norm; (B, c_in, h, w) -> (B, c_out, h, w)."""

    def __init__(self, c_in: int, out: tuple[int, ...]):
        super().__init__({
            "1x1": nn.Conv2d(c_in, out[0], 1),
            "3x3_reduce": nn.Conv2d(c_in, out[1], 1),
            "3x3": nn.Conv2d(out[1], out[2], 3, padding=1),
            "5x5_reduce": nn.Conv2d(c_in, out[3], 1),
            "5x5": nn.Conv2d(out[3], out[4], 5, padding=2),
            "pool_proj": nn.Conv2d(c_in, out[5], 1),
        })  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self["1x1"](x),
            self["3x3"](F.relu(self["3x3_reduce"](x))),
            self["5x5"](F.relu(self["5x5_reduce"](x))),
            self["pool_proj"](F.max_pool2d(x, 3, stride=1, padding=1)),
        ]
        return F.relu(torch.cat(branches, 1))


def _googlenet_backbone() -> nn.Sequential:
    """GoogLeNet-GAP up to CAM_conv and its ReLU; 224 px -> (1024, 14, 14)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1/7x7_s2"] = nn.Conv2d(3, 64, 7, stride=2, padding=3)
    layers |= {"relu1": nn.ReLU(True), "pool1": ceil_pool(3), "norm1": lrn()}
    layers["conv2/3x3_reduce"] = nn.Conv2d(64, 64, 1)
    layers["relu2_reduce"] = nn.ReLU(True)
    layers["conv2/3x3"] = nn.Conv2d(64, 192, 3, padding=1)
    layers |= {"relu2": nn.ReLU(True), "norm2": lrn(), "pool2": ceil_pool(3)}
    channels = 192
    for block, out in _INCEPTIONS.items():
        if block == "4a":
            layers["pool3"] = ceil_pool(3)
        layers[f"inception_{block}"] = _Inception(channels, out)
        channels = out[0] + out[2] + out[4] + out[5]
    layers["CAM_conv"] = nn.Conv2d(channels, 1024, 3, padding=1, groups=2)
    layers["CAM_relu"] = nn.ReLU(True)
    return nn.Sequential(layers)


def _vgg16_backbone() -> nn.Sequential:
    """VGG16-GAP up to CAM_conv and its ReLU; 224 px -> (1024, 14, 14)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for block, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        if block > 1:
            layers[f"pool{block - 1}"] = ceil_pool(2)
        for i in range(1, depth + 1):
            layers[f"conv{block}_{i}"] = nn.Conv2d(channels, width, 3, padding=1)
            layers[f"relu{block}_{i}"] = nn.ReLU(True)
            channels = width
    layers["CAM_conv"] = nn.Conv2d(channels, 1024, 3, padding=1, groups=2)
    layers["CAM_relu"] = nn.ReLU(True)
    return nn.Sequential(layers)


_BACKBONES: dict[str, Callable[[], nn.Sequential]] = {
    "googlenet_gap": _googlenet_backbone,
    "vgg16_gap": _vgg16_backbone,
    "alexnet_star_gap": alexnet_star_backbone,
}


def load_released(path: str | Path, name: str) -> GAPNet:
    """A released network (of RELEASED) in eval mode, in exact Caffe arithmetic.

    Pooling sizes rounded up, local response normalisation, grouped convolutions (released prototxts). The number of
    classes is the file's. Input: RELEASED[name]["preset"] of camlib.transforms.
    Every layer must be in the file with its weight and its bias in the expected shapes: the bias blob too, which all
    three files have. Layers with weights that the network has not are refused, but for those named `loss*`: the
    classifiers that GoogLeNet has beside its trunk while it trains, on which no output depends.
    Raises ValueError (naming file, layers and expected shapes) for another file or name, or what read_caffemodel does.

        net = load_released(find_released("googlenet_gap", root), "googlenet_gap")
        logits, classes, maps = net.predict_with_cam(images)
    """
    facts = _released_facts(name)
    blobs = read_caffemodel(path)
    classifier, channels = facts["classifier"], facts["channels"]
    num_classes = max(1, len(blobs[classifier][0])) if classifier in blobs and blobs[classifier][0].ndim else 1
    with torch.device("meta"):  # no memory, no random numbers: every tensor comes from the file
        net = GAPNet(
            _BACKBONES[name.removesuffix("_places")](), nn.Linear(channels, num_classes), dropout=facts["dropout"]
        )

    state: dict[str, Tensor] = {}
    wrong: list[str] = []
    known: set[str] = set()
    for key, module in net.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        layer = classifier if module is net.fc else key.removeprefix("backbone.").replace(".", "/")
        known.add(layer)
        expected = [tuple(parameter.shape) for parameter in module.parameters()]  # weight, bias
        asked = f"expected a weight {expected[0]} and a bias {expected[1]}"
        if module is net.fc:
            asked = f"expected a weight (classes, {channels}) and a bias (classes,)"
        if layer not in blobs:
            wrong.append(f"layer {layer} is missing, {asked}")
        elif [blob.shape for blob in blobs[layer]] != expected:
            wrong.append(f"layer {layer} has blobs {[blob.shape for blob in blobs[layer]]}, {asked}")
        elif not all(np.isfinite(blob).all() for blob in blobs[layer]):
            wrong.append(f"layer {layer} holds NaN or infinite values")
        else:
            for tensor, blob in zip(("weight", "bias"), blobs[layer], strict=True):
                state[f"{key}.{tensor}"] = torch.from_numpy(blob)
    extra = [layer for layer in blobs if layer not in known and not layer.startswith("loss")]
    wrong += [f"layer {layer} is not part of this network" for layer in extra]
    refuse_misfits(path, name, wrong)
    net.load_state_dict(state, assign=True)
    return net.eval()
