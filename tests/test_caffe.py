"""Caffemodels: the format against bytes written by hand, the networks against OpenCV 4's own Caffe reader."""

import os
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.numpy import load_file

from camlib.caffe import RELEASED, load_released, read_caffemodel
from camlib.datasets.weights import RELEASED_FILES, find_released
from camlib.models import GAPNet
from camlib.transforms import PRESETS, Preset

Blobs = dict[str, list[np.ndarray]]
CLASSES = 7
V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "ReLU": 18}  # the enum of V1LayerParameter.type

# ---- the protobuf wire format, by hand (independent of the reader's schema) ----


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def blob(array: np.ndarray, v1: bool, pieces: int = 1) -> bytes:
    """BlobProto; the old form has (num, channels, height, width), padded in front."""
    if v1:
        shape = b"".join(field(i, n) for i, n in enumerate((1,) * (4 - array.ndim) + array.shape, start=1))
    else:
        shape = field(7, field(1, b"".join(varint(n) for n in array.shape)))
    flat = np.array_split(array.astype("<f4").ravel(), pieces)
    return b"".join(field(5, piece.tobytes()) for piece in flat) + shape


def layer(name: str, arrays: Sequence[np.ndarray], v1: bool = False, kind: str = "Convolution") -> bytes:
    """One whole record of NetParameter; with fields that the reader does not know."""
    blobs = b"".join(field(6 if v1 else 7, blob(array, v1)) for array in arrays)
    if v1:
        return field(2, field(2, b"data") + field(4, name.encode()) + field(5, V1_TYPES[kind]) + blobs)
    return field(100, field(1, name.encode()) + field(2, kind.encode()) + field(3, b"data") + blobs + field(10, 1))


def write(path: Path, blobs: Mapping[str, Sequence[np.ndarray]], v1: bool = False) -> Path:
    kinds = {name: "InnerProduct" if arrays[0].ndim == 2 else "Convolution" for name, arrays in blobs.items()}
    with open(path, "wb") as f:
        f.write(field(1, b"a net") + field(5, 1))  # name, force_backward
        for name, arrays in blobs.items():
            f.write(layer(name, arrays, v1, kinds[name]))
    return path


def tiny_blobs() -> Blobs:
    return {
        "conv/1": [np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2) / 7, np.float32([1, -2, 3, -4])],
        "fc": [np.arange(8, dtype=np.float32).reshape(2, 4) - 3, np.float32([0.5, -0.5])],
        "score": [np.float32([[9, 8]]), np.float32([7])],
    }


def same_blobs(found: Blobs, expected: Mapping[str, Sequence[np.ndarray]]) -> None:
    assert list(found) == list(expected)
    for name, arrays in expected.items():
        assert [a.dtype for a in found[name]] == [np.dtype(np.float32)] * len(arrays)
        assert [a.shape for a in found[name]] == [a.shape for a in arrays]
        assert all(np.array_equal(a, b) for a, b in zip(found[name], arrays, strict=True))


# ---- read_caffemodel ----


@pytest.mark.parametrize("v1", [False, True])
def test_reads_both_layer_forms(tmp_path: Path, v1: bool) -> None:
    same_blobs(read_caffemodel(write(tmp_path / "net.caffemodel", tiny_blobs(), v1)), tiny_blobs())


def test_reads_known_bytes(tmp_path: Path) -> None:
    """One layer, byte for byte, without the helpers above: layer(100) {name "c", blobs(7) {data 1.0 2.0, shape 2}}."""
    floats = struct.pack("<2f", 1.0, 2.0)
    message = b"\x0a\x01c" + b"\x3a\x0f" + b"\x2a\x08" + floats + b"\x3a\x03\x0a\x01\x02"
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"\xa2\x06" + bytes([len(message)]) + message)
    same_blobs(read_caffemodel(path), {"c": [np.float32([1, 2])]})


def test_skips_layers_without_blobs_and_unknown_fields(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    weights = tiny_blobs()["fc"]
    extra = field(4, 224) + field(6, b"\x08\x01") + field(2000, b"what is this") + varint(2001 << 3 | 5) + b"\0\0\0\0"
    path.write_bytes(layer("relu", [], kind="ReLU") + extra + layer("fc", weights) + layer("drop", []) + extra)
    same_blobs(read_caffemodel(path), {"fc": weights})


def test_joins_data_written_in_pieces(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(field(100, field(1, b"fc") + field(7, blob(array, v1=False, pieces=3))))
    same_blobs(read_caffemodel(path), {"fc": [array]})


@pytest.mark.parametrize("v1", [False, True])
def test_every_cut_is_noticed(tmp_path: Path, v1: bool) -> None:
    """A file cut anywhere but between two records is refused; between them it is valid, and holds whole layers only."""
    blobs = tiny_blobs()
    records = [layer(name, arrays, v1) for name, arrays in blobs.items()]
    whole, ends = b"".join(records), np.cumsum([0, *map(len, records)]).tolist()
    path = tmp_path / "cut.caffemodel"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        complete = max(i for i, end in enumerate(ends) if end <= cut)
        if cut in ends[1:]:
            same_blobs(read_caffemodel(path), dict(list(blobs.items())[:complete]))
            continue
        with pytest.raises(ValueError, match=r"cut\.caffemodel") as error:
            read_caffemodel(path)
        last = f"the last layer that could be read is {list(blobs)[complete - 1]}"
        if cut:
            assert str(error.value).endswith(last if complete else "no layer could be read")


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.caffemodel", tiny_blobs()).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "net.caffemodel"
    refusals = []
    for _ in range(1000):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            read_caffemodel(path)
        except ValueError as error:
            refusals.append(str(error))
    assert all(str(path) in message for message in refusals)
    assert len(refusals) > 200  # the others hit weights or names, where any byte is as good as another


def test_refuses_what_is_no_caffemodel(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    with pytest.raises(FileNotFoundError, match=r"net\.caffemodel"):
        read_caffemodel(path)
    with pytest.raises(FileNotFoundError):
        read_caffemodel(tmp_path)
    for content in (b"", b"<!DOCTYPE html><html>404</html>", layer("relu", []), b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"net\.caffemodel"):
            read_caffemodel(path)


@pytest.mark.parametrize(
    "message",
    [
        field(5, bytes(16)) + field(7, field(1, b"\x02\x03")),  # 4 values for (2, 3)
        field(5, bytes(15)) + field(7, field(1, b"\x04")),  # not a whole number of floats
        field(5, bytes(16)),  # no shape
        field(7, field(1, b"\x04")),  # no data
        field(5, bytes(16)) + field(7, field(1, varint(2**64 - 2) * 2)),  # (-2, -2)
    ],
)
def test_refuses_blobs_whose_shape_and_data_disagree(tmp_path: Path, message: bytes) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(field(100, field(1, b"odd") + field(7, message)))
    with pytest.raises(ValueError, match=r"net\.caffemodel: layer odd: blob 0 has shape"):
        read_caffemodel(path)


def test_refuses_a_layer_that_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(layer("fc", tiny_blobs()["fc"]) + layer("fc", tiny_blobs()["fc"], v1=True))
    with pytest.raises(ValueError, match="layer fc is there twice"):
        read_caffemodel(path)


@pytest.mark.parametrize("file", ["squeezenet1_0.caffemodel", "squeezenet1_0_v1.caffemodel"])
def test_real_squeezenet_equals_its_safetensors(shared_data: Callable[[str], Path], file: str) -> None:
    blobs = read_caffemodel(shared_data(f"weights/{file}"))
    tensors = load_file(shared_data("weights/squeezenet1_0_imagenet.safetensors"))
    modules = {"conv1": "features.0", "conv_final": "classifier.1"}
    parts = {"conv1x1_1": "squeeze", "conv1x1_2": "expand1x1", "conv3x3_2": "expand3x3"}
    for fire, index in zip(range(2, 10), (3, 4, 5, 7, 8, 9, 10, 12), strict=True):  # torchvision counts its pools too
        modules |= {f"fire{fire}/{caffe}": f"features.{index}.{ours}" for caffe, ours in parts.items()}
    assert set(blobs) == set(modules)
    found = {}
    for name, (weight, bias) in blobs.items():
        found |= {f"{modules[name]}.weight": weight, f"{modules[name]}.bias": bias}
    assert set(found) == set(tensors)
    for key, tensor in tensors.items():
        assert found[key].shape == tensor.shape
        assert np.array_equal(found[key], tensor), key


# ---- the three networks: topology as text, written here from the published facts and not from camlib ----


class Prototxt:
    """Writes a deploy prototxt layer by layer, and draws weights for it (He scale, so that activations keep theirs)."""

    def __init__(self, size: int):
        self.text = f'input: "data"\ninput_shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }}\n'
        self.blobs: Blobs = {}
        self.channels = {"data": 3}
        self.rng = np.random.default_rng(0)

    def layer(self, name: str, kind: str, bottoms: Sequence[str], params: str, top: str = "", channels: int = 0) -> str:
        top = top or name
        links = "".join(f' bottom: "{b}"' for b in bottoms)
        self.text += f'layer {{ name: "{name}" type: "{kind}"{links} top: "{top}" {params} }}\n'
        self.channels[top] = channels or self.channels[bottoms[0]]
        return top

    def conv(self, name: str, bottom: str, out: int, kernel: int, stride: int = 1, pad: int = 0, group: int = 1) -> str:
        self.draw(name, (out, self.channels[bottom] // group, kernel, kernel))
        params = f"num_output: {out} kernel_size: {kernel} stride: {stride} pad: {pad} group: {group}"
        self.layer(name, "Convolution", [bottom], f"convolution_param {{ {params} }}", channels=out)
        return self.layer(f"relu_{name}", "ReLU", [name], "", top=name)

    def draw(self, name: str, shape: tuple[int, ...]) -> None:
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
        weight = self.rng.standard_normal(shape, np.float32) * scale
        self.blobs[name] = [weight, self.rng.standard_normal(shape[0], np.float32)]

    def pool(self, name: str, bottom: str, kernel: int, stride: int, pad: int = 0, kind: str = "MAX") -> str:
        params = f"pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad}"
        return self.layer(name, "Pooling", [bottom], f"pooling_param {{ {params} }}")

    def lrn(self, name: str, bottom: str) -> str:
        return self.layer(name, "LRN", [bottom], "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")

    def head(self, bottom: str, kernel: int, name: str) -> None:
        pooled = self.pool("gap", bottom, kernel, kernel, kind="AVE")
        self.draw(name, (CLASSES, self.channels[bottom]))
        self.layer(name, "InnerProduct", [pooled], f"inner_product_param {{ num_output: {CLASSES} }}")


def googlenet() -> Prototxt:
    """Channel numbers from torchvision's GoogLeNet, whose 5x5 branches are 3x3 but as wide."""
    reference = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False)
    net = Prototxt(224)
    x = net.conv("conv1/7x7_s2", "data", 64, 7, stride=2, pad=3)
    x = net.lrn("pool1/norm1", net.pool("pool1/3x3_s2", x, 3, 2))
    x = net.conv("conv2/3x3", net.conv("conv2/3x3_reduce", x, 64, 1), 192, 3, pad=1)
    x = net.pool("pool2/3x3_s2", net.lrn("conv2/norm2", x), 3, 2)
    for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e"):
        if block == "4a":
            x = net.pool("pool3/3x3_s2", x, 3, 2)
        module, name = getattr(reference, f"inception{block}"), f"inception_{block}"
        reduce3, wide3 = (m.conv.out_channels for m in module.branch2)
        reduce5, wide5 = (m.conv.out_channels for m in module.branch3)
        branches = [
            net.conv(f"{name}/1x1", x, module.branch1.conv.out_channels, 1),
            net.conv(f"{name}/3x3", net.conv(f"{name}/3x3_reduce", x, reduce3, 1), wide3, 3, pad=1),
            net.conv(f"{name}/5x5", net.conv(f"{name}/5x5_reduce", x, reduce5, 1), wide5, 5, pad=2),
            net.conv(f"{name}/pool_proj", net.pool(f"{name}/pool", x, 3, 1, 1), module.branch4[1].conv.out_channels, 1),
        ]
        x = net.layer(f"{name}/output", "Concat", branches, "", channels=sum(net.channels[b] for b in branches))
    net.head(net.conv("CAM_conv", x, 1024, 3, pad=1, group=2), 14, "CAM_fc")
    return net


def vgg16() -> Prototxt:
    net, x = Prototxt(224), "data"
    for block, (width, depth) in enumerate(zip((64, 128, 256, 512, 512), (2, 2, 3, 3, 3), strict=True), start=1):
        for i in range(depth):
            x = net.conv(f"conv{block}_{i + 1}", x, width, 3, pad=1)
        x = net.pool(f"pool{block}", x, 2, 2) if block < 5 else x
    net.head(net.conv("CAM_conv", x, 1024, 3, pad=1, group=2), 14, "CAM_fc")
    return net


def alexnet_star() -> Prototxt:
    net = Prototxt(227)
    x = net.lrn("norm1", net.pool("pool1", net.conv("conv1", "data", 96, 11, stride=4), 3, 2))
    x = net.lrn("norm2", net.pool("pool2", net.conv("conv2", x, 256, 5, pad=2, group=2), 3, 2))
    x = net.conv("conv4", net.conv("conv3", x, 384, 3, pad=1), 384, 3, pad=1, group=2)
    x = net.pool("pool5", net.conv("conv5", x, 384, 3, pad=1, group=2), 3, 1)
    x = net.conv("conv7", net.conv("conv6", x, 512, 3, pad=1, group=2), 512, 3, pad=1, group=2)
    net.head(x, 11, "fc9")
    return net


TOPOLOGY = {"googlenet_gap": googlenet, "vgg16_gap": vgg16, "alexnet_star_gap": alexnet_star}
LAST_MAPS = {"googlenet_gap": "CAM_conv", "vgg16_gap": "CAM_conv", "alexnet_star_gap": "conv7"}
# Logits of OpenCV 4.14 for these networks, weights and input; `make test-opencv4` computes and prints them again.
OPENCV_LOGITS = {
    "googlenet_gap": [27.765, -25.681, -11.602, 147.152, -63.844, 21.694, 12.023],
    "vgg16_gap": [1.16, 424.172, 336.502, -28.919, -46.011, 158.563, 160.655],
    "alexnet_star_gap": [-107.798, 100.5, 116.009, -80.511, 147.243, 6.958, 133.427],
}


@pytest.fixture(scope="module", params=list(TOPOLOGY))
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    """(name, prototxt text, caffemodel, input (1, 3, S, S)); AlexNet* in the old layer form."""
    name = request.param
    net = TOPOLOGY[name]()
    path = write(tmp_path_factory.mktemp("drawn") / f"{name}.caffemodel", net.blobs, v1=name == "alexnet_star_gap")
    # Input on Caffe's scale, so that the normalisation across channels is far from 1 and an error in it shows.
    size = PRESETS[RELEASED[name]["preset"]].crop
    image = np.random.default_rng(1).integers(0, 256, (1, 3, size, size)) - np.float32([104, 117, 123])[:, None, None]
    yield name, net.text, path, image.astype(np.float32)
    path.unlink()


@pytest.fixture(scope="module")
def net(drawn: tuple) -> GAPNet:
    return load_released(drawn[2], drawn[0])


@pytest.fixture(scope="module")
def outputs(drawn: tuple, net: GAPNet) -> tuple[np.ndarray, np.ndarray]:
    """camlib's last maps and logits for the drawn network."""
    image = torch.from_numpy(drawn[3])
    with torch.no_grad():
        return net.features(image).numpy(), net(image).numpy()


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


def test_logits_equal_those_stored_from_opencv(drawn: tuple, outputs: tuple[np.ndarray, np.ndarray]) -> None:
    assert relative_difference(outputs[1], np.float32([OPENCV_LOGITS[drawn[0]]])) < 1e-4


def test_maps_and_logits_are_one_network(drawn: tuple, net: GAPNet) -> None:
    """Map sizes of the paper, the classes of the file, and mean of the map + bias == logit."""
    name, image = drawn[0], torch.from_numpy(drawn[3])
    side = 11 if name == "alexnet_star_gap" else 14
    logits, classes, maps = net.predict_with_cam(image, top=CLASSES)
    assert maps.shape == (1, CLASSES, side, side)
    assert net.fc.out_features == CLASSES
    assert net.dropout.p == (0 if name == "googlenet_gap" else 0.5)
    mean = maps.mean((2, 3)) + net.fc.bias[classes]
    assert relative_difference(mean.detach().numpy(), logits.gather(1, classes).numpy()) < 1e-5
    assert all(p.requires_grad and p.device.type == "cpu" for p in net.parameters())


def test_loading_leaves_the_random_state_alone(drawn: tuple) -> None:
    before = torch.get_rng_state()
    load_released(drawn[2], drawn[0])
    assert torch.equal(before, torch.get_rng_state())


def test_pooling_sizes_are_caffes(drawn: tuple, net: GAPNet) -> None:
    """ceil((n - k) / s) + 1 windows, less one that would start outside, each cut at the border."""
    pools = [m for m in net.modules() if isinstance(m, torch.nn.MaxPool2d)]
    assert len(pools) == {"googlenet_gap": 3, "vgg16_gap": 4, "alexnet_star_gap": 3}[drawn[0]]
    for kernel, stride in {(m.kernel_size, m.stride) for m in pools}:
        for size in (*range(3, 30), 55, 112, 113):
            x = np.random.default_rng(size).normal(size=(size, size)).astype(np.float32)
            n = -(-(size - kernel) // stride) + 1
            n -= (n - 1) * stride >= size
            starts = [i * stride for i in range(n)]
            expected = np.float32([[x[a : a + kernel, b : b + kernel].max() for b in starts] for a in starts])
            for pool in (m for m in pools if (m.kernel_size, m.stride) == (kernel, stride)):
                assert np.array_equal(pool(torch.from_numpy(x)[None])[0].numpy(), expected), size


def test_normalisation_is_caffes(drawn: tuple, net: GAPNet) -> None:
    """x / (1 + alpha / 5 * sum of the squares of 5 channels) ** beta."""
    norms = [m for m in net.modules() if isinstance(m, torch.nn.LocalResponseNorm)]
    assert len(norms) == {"googlenet_gap": 2, "vgg16_gap": 0, "alexnet_star_gap": 2}[drawn[0]]
    x = np.random.default_rng(0).normal(0, 100, (1, 8, 3, 3)).astype(np.float32)
    squares = np.pad(x.astype(np.float64) ** 2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    divisor = (1 + 1e-4 / 5 * sum(squares[:, i : i + 8] for i in range(5))) ** 0.75
    assert divisor.max() > 1.3  # far enough from 1 to tell
    for norm in norms:
        assert relative_difference(norm(torch.from_numpy(x)).numpy(), x / divisor) < 1e-6


# ---- load_released: what it refuses ----


@pytest.fixture(scope="module")
def alexnet_blobs() -> Blobs:
    return alexnet_star().blobs


def test_ignores_the_training_classifiers(tmp_path: Path, alexnet_blobs: Blobs) -> None:
    blobs = alexnet_blobs | {"loss1/classifier": tiny_blobs()["fc"]}
    assert load_released(write(tmp_path / "net.caffemodel", blobs), "alexnet_star_gap").fc.out_features == CLASSES


def test_the_places_network_is_the_same_without_dropout(tmp_path: Path, alexnet_blobs: Blobs) -> None:
    path = write(tmp_path / "net.caffemodel", alexnet_blobs)
    places, imagenet = load_released(path, "alexnet_star_gap_places"), load_released(path, "alexnet_star_gap")
    assert (places.dropout.p, imagenet.dropout.p) == (0, 0.5)
    assert all(map(torch.equal, places.state_dict().values(), imagenet.state_dict().values()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv6": None}, r"layer conv6 is missing, expected a weight \(512, 192, 3, 3\) and a bias \(512,\)"),
        ({"fc9": None}, r"layer fc9 is missing, expected a weight \(classes, 512\) and a bias \(classes,\)"),
        ({"conv1": [np.zeros((96, 3, 11, 11))]}, r"layer conv1 has blobs \[\(96, 3, 11, 11\)\], expected"),
        (
            {"conv5": [np.zeros((256, 192, 3, 3)), np.zeros(256)]},  # AlexNet's own conv5
            r"layer conv5 has blobs \[\(256, 192, 3, 3\), \(256,\)\], expected a weight \(384, 192, 3, 3\)",
        ),
        ({"fc9": [np.zeros((5, 256)), np.zeros(5)]}, r"layer fc9 has blobs \[\(5, 256\), \(5,\)\], expected"),
        ({"fc9": [np.zeros((5, 512)), np.zeros(4)]}, r"layer fc9 has blobs \[\(5, 512\), \(4,\)\], expected"),
        ({"fc9": [np.zeros((0, 512)), np.zeros(0)]}, r"layer fc9 has blobs \[\(0, 512\), \(0,\)\], expected"),
        ({"fc6": [np.zeros((2, 3)), np.zeros(2)]}, "layer fc6 is not part of this network"),
    ],
)
def test_refuses_another_network(tmp_path: Path, alexnet_blobs: Blobs, change: dict, message: str) -> None:
    blobs = {name: arrays for name, arrays in (alexnet_blobs | change).items() if arrays is not None}
    with pytest.raises(ValueError, match=rf"net\.caffemodel does not fit alexnet_star_gap: {message}"):
        load_released(write(tmp_path / "net.caffemodel", blobs), "alexnet_star_gap")


def test_refuses_the_early_truncated_googlenet(tmp_path: Path) -> None:
    """3.75 MB of it, once as cut in the middle of a layer and once as cut between two."""
    path = write(tmp_path / "googlenet.caffemodel", googlenet().blobs)
    with open(path, "r+b") as f:
        f.truncate(3_750_000)
    with pytest.raises(ValueError, match=r"googlenet\.caffemodel is not a whole .* inception_4a/3x3_reduce$"):
        load_released(path, "googlenet_gap")
    blobs = googlenet().blobs
    left = dict(list(blobs.items())[: list(blobs).index("inception_4a/3x3_reduce") + 1])
    with pytest.raises(ValueError, match=r"layer inception_4a/3x3 is missing, .* \(and 24 more\)"):
        load_released(write(path, left), "googlenet_gap")


def test_finds_released_files_in_either_spelling(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        find_released("googlenet_gap", tmp_path)
    current, old = RELEASED_FILES["googlenet_gap"]
    address = f"http://cnnlocalization.csail.mit.edu/demoCAM/models/{current}"
    for part in (current, old, address, str(tmp_path / "weights")):
        assert part in str(error.value)
    (tmp_path / "weights").mkdir()
    for file in (tmp_path / "weights" / old, tmp_path / "weights" / current, tmp_path / old):  # later ones go first
        file.touch()
        assert find_released("googlenet_gap", tmp_path) == file
    for call in (find_released, lambda name, root: load_released(root, name)):
        with pytest.raises(ValueError, match="'resnet50' were released; expected one of googlenet_gap, vgg16_gap"):
            call("resnet50", tmp_path)


def test_presets_are_those_of_the_released_networks() -> None:
    assert RELEASED.keys() == RELEASED_FILES.keys()
    sizes = {"googlenet_gap": 224, "vgg16_gap": 224, "alexnet_star_gap": 227}
    for name, facts in RELEASED.items():
        preset = PRESETS[facts["preset"]]
        assert preset == Preset(256, sizes[name.removesuffix("_places")], (104, 117, 123), (1, 1, 1), "bgr", 255)


# ---- the oracle ----


@pytest.mark.opencv4
def test_opencv4_agrees(drawn: tuple, outputs: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """The same caffemodel through OpenCV 4's Caffe reader: last maps and logits (before any softmax)."""
    if "CAMLIB_OPENCV4" not in os.environ:
        pytest.skip("needs OpenCV 4.x in an environment of its own: make test-opencv4")
    name, text, path, image = drawn
    (tmp_path / "net.prototxt").write_text(text)
    np.save(tmp_path / "input.npy", image)
    maps, logits = f"relu_{LAST_MAPS[name]}", RELEASED[name]["classifier"]
    script = Path(__file__).with_name("opencv4_caffe.py")
    files = [tmp_path / "net.prototxt", path, tmp_path / "input.npy", tmp_path / "output.npz"]
    subprocess.run([os.environ["CAMLIB_OPENCV4"], script, *files, maps, logits], check=True)
    found = np.load(tmp_path / "output.npz")
    differences = [relative_difference(a, found[b]) for a, b in zip(outputs, (maps, logits), strict=True)]
    # `pytest -s` shows how close they are.
    print(f"\n{name}, OpenCV {found['version']}: maps {differences[0]:.1e}, logits {differences[1]:.1e} (relative)")
    print("logits:", [round(float(value), 3) for value in found[logits][0]])
    assert max(differences) < 1e-4
