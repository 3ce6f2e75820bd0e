"""Damaged and arbitrary files of each kind that is read: a result, or the documented error with the file's name.

CAMLIB_FUZZ sets how many inputs each test tries.
"""

import io
import json
import os
import struct
import warnings
import zipfile

import numpy as np
import pytest
import torch
import yaml
from builders import PARAMETERS, dataset_of, make_notebook, voc_xml
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat

from camlib.caffe import _net_parameter, read_caffemodel
from camlib.datasets import parsing, tiny_imagenet
from camlib.datasets.archives import find_damage
from camlib.datasets.base import Dataset
from camlib.datasets.imagenet import _devkit_synsets, read_submission
from camlib.models import read_weights
from camlib.report import records, tables
from camlib.report.results import Experiment
from camlib.report.settings import check_parameters, read_parameters, read_yaml
from camlib.store import run_sharded
from camlib.train.networks import _read_about

fuzz = settings(
    max_examples=int(os.environ.get("CAMLIB_FUZZ", "200")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def damaged(*whole: bytes) -> st.SearchStrategy[bytes]:
    """Bytes of any kind, and whole files with parts cut out, put in or overwritten."""
    edit = st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=40))

    def change(drawn: tuple[bytes, list[tuple[float, int, bytes]]]) -> bytes:
        content, edits = drawn
        for place, length, new in edits:
            at = int(place * len(content))
            content = content[:at] + new + content[at + length :]
        return content

    changed = st.tuples(st.sampled_from(whole), st.lists(edit, min_size=1, max_size=4)).map(change)
    cut = st.tuples(st.sampled_from(whole), st.floats(0, 1)).map(
        lambda drawn: drawn[0][: int(drawn[1] * len(drawn[0]))]
    )
    return changed | cut | st.binary(max_size=200)


def check_read(path, read, errors=(ValueError, FileNotFoundError), named=True):
    """Read a file: whatever is in it, it is read or refused by name."""
    try:
        read(path)
    except errors as error:
        assert not named or path.name in str(error), repr(error)  # noqa: PT017


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@fuzz
@given(content=damaged(b"n01440764\ttench, Tinca tinca\nn01443537\tgoldfish\n", "\ufeffa b\n\u2028c d".encode()))
def test_lists(folder, content):
    path = folder / "list.txt"
    path.write_bytes(content)
    for read in (parsing.read_lines, parsing.read_cells, lambda p: parsing.read_pairs(p, "\t")):
        check_read(path, read)


@fuzz
@given(content=damaged(b"1 2 3 4 5\n" * 3, b"1 2.5 3e2 -4 5 1 2 3 4 5\n"))
def test_submissions(folder, content):
    path = folder / "guesses.txt"
    path.write_bytes(content)
    check_read(path, lambda p: read_submission(p, [1, 2, 3]))


@fuzz
@given(content=damaged(voc_xml((50, 40), [("cat", 1, 2, 30, 20), ("dog", 3, 4, 5, 6)]).encode()))
def test_annotations(folder, content):
    path = folder / "image.xml"
    path.write_bytes(content)
    check_read(path, lambda p: parsing.read_voc_boxes(parsing.parse_xml(p), p))
    check_read(path, lambda p: parsing.read_numbers(parsing.parse_xml(p), ("size/width", "size/height"), p))


def matlab_file() -> bytes:
    buffer, synset = io.BytesIO(), [("WNID", "O"), ("ILSVRC2012_ID", "f8"), ("words", "O"), ("num_children", "f8")]
    savemat(buffer, {"synsets": np.array([("n1", 1, "tench", 0), ("n2", 2, "fish", 1)], synset)}, do_compression=True)
    return buffer.getvalue()


@fuzz
@given(content=damaged(matlab_file()))
def test_matlab_files(folder, content):
    path = folder / "meta.mat"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of names that stand twice
        check_read(path, _devkit_synsets)


def test_a_matlab_file_with_any_byte_damaged_is_named_and_ends_no_process(folder):
    path, whole = folder / "meta.mat", bytearray(matlab_file())
    refused = 0
    for at in range(128, len(whole)):
        whole[at] ^= 0xFF
        path.write_bytes(whole)
        whole[at] ^= 0xFF
        with pytest.raises(ValueError, match=r"meta\.mat"):
            _devkit_synsets(path)
        refused += 1
    assert refused > 100


def caffemodel() -> bytes:
    net = _net_parameter()()
    for layers in (net.layer, net.layers):
        blob = layers.add(name=f"conv{len(net.layers)}".encode()).blobs.add(data=[np.ones(6, "<f4").tobytes()])
        blob.shape.dim.extend([2, 3])
    return net.SerializeToString()


@fuzz
@given(content=damaged(caffemodel()))
def test_caffemodels(folder, content):
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    check_read(path, read_caffemodel)


TENSORS = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}
HEADER = st.dictionaries(
    st.text(max_size=8) | st.just("__metadata__"),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "I64", "BOOL", "F8", "", 3]),
            "shape": st.lists(st.integers(-2, 2**63), max_size=3),
            "data_offsets": st.lists(st.integers(-1, 2**63), max_size=3),
        }
    )
    | st.none(),
    max_size=3,
).map(lambda header: struct.pack("<Q", len(json.dumps(header))) + json.dumps(header).encode() + bytes(24))


@fuzz
@given(content=damaged(save(TENSORS)) | HEADER)
def test_safetensors(folder, content):
    path = folder / "weights.safetensors"
    path.write_bytes(content)
    check_read(path, read_weights)


def saved_by_torch() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": TENSORS, "epoch": 3}, buffer)
    return buffer.getvalue()


@fuzz
@given(content=damaged(saved_by_torch()))
def test_files_of_torch(folder, content):
    path = folder / "weights.pth"
    path.write_bytes(content)
    check_read(path, read_weights)


DESCRIPTION = (
    b'{"resize": 256, "crop": 224, "mean": [0.5, 0.5, 0.5], "std": [1, 1, 1], "channels": "RGB", "range": 1, '
    b'"interpolation": "bilinear", "classes": "names.json"}'
)


@fuzz
@given(content=damaged(DESCRIPTION, b'{"names": ["a", "b"]}'))
def test_descriptions_of_weights(folder, content):
    path, classes = folder / "weights.json", folder / "names.json"
    classes.write_text('{"names": ["a", "b"]}')
    path.write_bytes(content)
    check_read(path, _read_about, named=False)
    classes.write_bytes(content)
    path.write_bytes(DESCRIPTION)
    check_read(classes, lambda _: _read_about(path))


def results_file(folder) -> bytes:
    exp = Experiment("01_x", {"seed": 7}, folder)
    exp.uses(dataset_of(np.zeros((8, 4, 4, 3), np.uint8), [0, 1] * 4, synthetic=True))
    exp.add("top-1 localization error", np.repeat([True, False], 4), model="GAP", paper=("Table 2", "NIN", "top-1"))
    exp.write(title="T", claim="C", headline="H")
    return (folder / "01_x.json").read_bytes()


@fuzz
@given(data=st.data())
def test_results_files(folder, data):
    whole = results_file(folder) if not (folder / "01_x.json").exists() else (folder / "01_x.json").read_bytes()
    record = json.loads(whole)
    if data.draw(st.booleans()):
        place = data.draw(
            st.sampled_from([record, record["values"][0], record["values"][0]["paper"], record["datasets"][0]])
        )
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
        whole = json.dumps(record).encode()
    else:
        whole = data.draw(damaged(whole))
    try:
        read = records.parse_record(whole.decode(errors="replace"))
    except ValueError:
        return
    tables.arrange_values(read["values"])  # what is accepted can be shown
    assert len(tables.list_runs([read])) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(["dataset", "n"]), inner)
    ),
    max_leaves=8,
)  # fmt: skip
NAMES = ("data", "seed", "report_dir", "networks", "network", "training", "seeds", "also", "targets", "image", "sead")
MORE = """
networks = [{"label": "A", "model": "nin", "weights": "random", "paper_row": ""}]  # list of dict: rows
network = {"model": "nin", "weights": "random"}  # dict: a network
training = {"trained_on": "svt", "train_options": {}, "eval_options": {}, "epochs": 3}  # dict: what it learns from
seeds = [0]  # list of int: one pair each
also = []  # list of dict: further data
targets = [{"dataset": "caltech101"}]  # list of dict: data
image = 0  # int: which"""


@pytest.fixture(scope="module")
def notebook(folder):
    return make_notebook(folder / "01_x.ipynb", parameters=PARAMETERS + MORE)


@fuzz
@given(data=st.data())
def test_parameters(folder, notebook, data):
    path = folder / "params.yml"
    if data.draw(st.booleans()):
        path.write_text(yaml.safe_dump(data.draw(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3))))
    else:
        defaults = yaml.safe_dump(read_parameters(notebook)).encode()
        path.write_bytes(data.draw(damaged(defaults, b"a: &x [1, *x]\nb: !!int 3\nc: 2020-01-01\nd: {<<: *x}\n")))
    check_read(path, lambda p: check_parameters(read_yaml(p), notebook, str(p)))


@fuzz
@given(data=st.data())
def test_notebooks(folder, notebook, data):
    path = folder / "02_y.ipynb"
    path.write_bytes(data.draw(damaged(notebook.read_bytes())))
    check_read(path, read_parameters)


def image_bytes(kind: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (9, 7), 1).save(buffer, kind)
    return buffer.getvalue()


KINDS = [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("GIF", "P"), ("BMP", "RGB"),
         ("TIFF", "RGB"), ("WEBP", "RGB"), ("ICO", "RGB"), ("PPM", "RGB"), ("TGA", "RGB")]  # fmt: skip


@fuzz
@given(content=damaged(*(image_bytes(*kind) for kind in KINDS)))
def test_images(folder, content):
    path = folder / "image.jpg"
    path.write_bytes(content)
    one = Dataset(
        "d", "val", ["a"], np.zeros(1), ["c"], ["c"], [parsing.NO_BOXES], np.ones((1, 2)), "s", files=[str(path)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of much that it can read
        check_read(path, lambda _: one[0].load(), (OSError,))
        check_read(path, lambda p: parsing.read_sizes([str(p)]), (OSError, ValueError))


def tiny_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny-imagenet-200/wnids.txt", "n1\nn2\n")
        archive.writestr("tiny-imagenet-200/words.txt", "n1\tone\nn2\ttwo\n")
        archive.writestr("tiny-imagenet-200/val/val_annotations.txt", "val_0.JPEG\tn1\t0\t32\t44\t62\n")
    return buffer.getvalue()


@fuzz
@given(content=damaged(tiny_zip()))
def test_archives(folder, content):
    path = folder / "tiny-imagenet-200.zip"
    path.write_bytes(content)
    options = {"classes": None, "per_class": None}
    check_read(path, lambda p: tiny_imagenet.read("tiny", "val", {"images": p}, **options), named=False)
    assert content == tiny_zip() or path.name in find_damage(path) or zipfile.is_zipfile(path)


WHOLE_SHARD: dict[str, bytes] = {}


@fuzz
@given(data=st.data())
def test_shards(own_cache, data):
    run = lambda: run_sharded("squares", "key", 4, lambda i: {"square": i**2}, names=["square"])  # noqa: E731
    run()
    (path,) = own_cache.rglob("*.npz")
    whole = WHOLE_SHARD.setdefault("bytes", path.read_bytes())  # a zip holds the time: the first serves all examples
    path.write_bytes(data.draw(damaged(whole)))
    check_read(path, lambda _: run())
    path.write_bytes(whole)
