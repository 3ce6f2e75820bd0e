"""Settings are refused before anything runs: kinds, ranges and names, each with what was expected."""

import re
from pathlib import Path

import pytest
from builders import make_notebook

from camlib.report import settings

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.ipynb"))
ROW = {"label": "A", "model": "nin", "weights": "random", "paper_row": ""}
TRAINING = {"trained_on": "synthetic-objects", "train_options": {}, "eval_options": {}, "epochs": 3}
CELL = """
data = {"dataset": "synthetic-objects", "split": "val", "n": 50}  # dict: images
photo = ""  # str: a file
image = 0  # int: which
share = 0.5  # float: any
fit_share = 0.6  # float: images to fit on
whether = True  # bool: or not
networks = [  # list of dict: rows
    {"label": "A", "model": "nin", "weights": "random", "paper_row": ""},
]
mapped = "A"  # str: label of a network
crops_networks = []  # list of str: labels
network = {"model": "nin", "weights": "random"}  # dict: a network
training = {}  # dict: what is trained on
targets = [{"dataset": "synthetic-transfer"}]  # list of dict: data
seeds = [0, 1]  # list of int: one pair each
also = []  # list of dict: further data
heldout_images = 5  # int: set aside
crops_images = 10  # int: or 0
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    path = tmp_path_factory.mktemp("notebooks") / "n" / "01_x.ipynb"
    path.parent.mkdir()
    return make_notebook(path, parameters=CELL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_notebooks_own_defaults_are_of_the_kinds_that_they_name(path):
    defaults = settings.read_parameters(path)
    settings.check_parameters(defaults, path, "defaults")
    name, value = next(iter(defaults.items()))
    with pytest.raises(ValueError, match=rf"^defaults: {path.stem}: {name} is None: expected (dict|str|list of dict)$"):
        settings.check_parameters({name: None}, path, "defaults")
    assert value is not None
    cell = next(c["source"] for c in settings.read_cells(path) if "parameters" in c["tags"])
    assert len(re.findall(r"# (list of )?(int|float|str|bool|dict|list)(:|$)", cell, re.M)) == len(defaults)


@pytest.mark.parametrize(
    "given",
    [
        {"share": 1}, {"fit_share": 0.5}, {"whether": False}, {"crops_images": 0}, {"seeds": [7]}, {"image": 49},
        {"data": {"dataset": "svt", "split": "all"}}, {"heldout_images": 49},
        {"data": {"dataset": "synthetic-objects", "n": 50, "clutter": 0, "object_size": 0.5}},
        {"targets": [{"dataset": "caltech101", "per_class": 5, "test_per_class": None}]}, {"training": TRAINING},
        {"networks": [ROW, ROW | {"label": "B", "pool": "max", "geometry": "whole", "scale": 320}], "mapped": "B"},
        {"also": [{"data": {"dataset": "svt", "split": "all"}, "heldout_images": 3, "training": TRAINING}]},
    ],
)  # fmt: skip
def test_what_can_be_run_passes(notebook, given):
    settings.check_parameters(given, notebook, "p.yml")
    assert set(given) <= set(settings.read_parameters(notebook))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image": "five"}, "image is 'five': expected int"),
        ({"image": 1.0}, "image is 1.0: expected int"),
        ({"image": True}, "image is True: expected int"),
        ({"image": None}, "image is None: expected int"),
        ({"image": -3}, "image is -3; expected a whole number, at least 0"),
        ({"image": 9999}, "image is 9999; there are 50 images, expected at most 49"),
        ({"image": 1, "photo": "a.jpg"}, "image is 1; there are 1 images"),
        ({"image": 5, "data": {"dataset": "bundled-photos", "split": "all"}}, "there are 5 images"),
        ({"whether": 1}, "whether is 1: expected bool"),
        ({"share": "0.5"}, "share is '0.5': expected float"),
        ({"share": float("nan")}, "share is nan; expected a finite number"),
        ({"fit_share": 1}, "fit_share is 1; expected a number between 0 and 1"),
        ({"photo": ["a"]}, r"photo is \['a'\]: expected str"),
        ({"seeds": []}, "seeds is empty; expected at least one"),
        ({"seeds": 3}, "seeds is 3: expected list of int"),
        ({"seeds": [0, "1"]}, "expected list of int"),
        ({"seeds": [0, -1]}, r"seeds\[1\] is -1; expected a whole number, at least 0"),
        ({"seeds": [2, 2]}, "expected each seed once"),
        ({"networks": []}, "networks is empty; expected at least one"),
        ({"networks": "GAP"}, "networks is 'GAP': expected list of dict"),
        ({"networks": [["GAP", "mini_gap"]]}, "expected list of dict"),
        ({"networks": [{"model": "nin"}]}, r"networks\[0\] lacks weights, label"),
        (
            {"networks": [{"model": "nin", "weights": "random", "label": "A"}]},
            r"networks\[0\] lacks paper_row; expected label, paper_row",
        ),
        ({"networks": [ROW | {"wieghts": "x"}]}, r"networks\[0\] has the key 'wieghts'; expected model, weights"),
        ({"networks": [ROW | {"model": 3}]}, r"networks\[0\].model is 3; expected str"),
        ({"networks": [ROW | {"pool": "mean"}]}, r"networks\[0\].pool is 'mean'; expected avg or max"),
        ({"networks": [ROW | {"scale": 0}]}, r"networks\[0\].scale is 0; expected a whole number"),
        ({"networks": [ROW, ROW]}, "networks has the labels A, A; expected each once"),
        ({"networks": [ROW | {"label": "B"}]}, "mapped is 'A'; expected labels of networks: B"),
        ({"crops_networks": ["C"]}, r"crops_networks is \['C'\]; expected labels of networks: A"),
        ({"network": {"model": "nin"}}, "network lacks weights"),
        ({"data": {"split": "val"}}, "data has no 'dataset'"),
        (
            {"data": {"dataset": "synthetic-object"}},
            "unknown dataset 'synthetic-object'; did you mean synthetic-objects",
        ),
        ({"data": {"dataset": ["svt"]}}, "unknown dataset"),
        ({"data": {"dataset": "svt", "split": "vla"}}, r"data.split is 'vla'; expected one of train, test, all"),
        ({"data": {"dataset": "svt", "classes": 3}}, "takes no option 'classes'"),
        ({"data": {"dataset": "synthetic-objects", "n": 0}}, "n is 0; expected a whole number, at least 1"),
        ({"data": {"dataset": "synthetic-objects", "n": "ten"}}, "n is 'ten'; expected a whole number"),
        ({"data": {"dataset": "synthetic-objects", "n": 2.5}}, "n is 2.5; expected a whole number"),
        ({"data": {"dataset": "synthetic-objects", "size": 8}}, "size is 8; expected a whole number, at least 32"),
        ({"data": {"dataset": "synthetic-objects", "clutter": -1}}, "clutter is -1; expected a whole number"),
        ({"data": {"dataset": "synthetic-objects", "object_size": 0}}, "object_size is 0; expected a number above 0"),
        ({"data": {"dataset": "tiny-imagenet-200", "classes": -1}}, "classes is -1; expected a whole number"),
        ({"training": {1: 2}}, "training has the key 1; expected a name"),
        ({"training": TRAINING | {"epochs": "ten"}}, "training.epochs is 'ten'; expected a whole number, at least 1"),
        ({"training": TRAINING | {"epochs": 0}}, "training.epochs is 0; expected a whole number, at least 1"),
        ({"training": TRAINING | {"eval_options": {"n": 0}}}, "training.eval_options: n is 0"),
        ({"training": TRAINING | {"eval_options": None}}, "training.eval_options is None; expected dict"),
        ({"targets": [{"dataset": "caltech101", "per_class": 0}]}, r"targets\[0\]: per_class is 0"),
        ({"heldout_images": 50}, "heldout_images is 50; there are 50 images, expected at most 49"),
        ({"also": [{"data": {"dataset": "synthetic-objects", "n": 5}, "heldout_images": 9}]}, "there are 5 images"),
        ({"sead": 1}, "has no parameter 'sead'; it has data, .*did you mean seeds"),
    ],
)
def test_what_can_not_be_run_is_named_with_what_was_expected(notebook, given, message):
    with pytest.raises(ValueError, match=f"^p.yml: 01_x.*{message}"):
        settings.check_parameters(given, notebook, "p.yml")


def test_a_comment_must_name_a_kind(tmp_path):
    path = make_notebook(tmp_path / "01_x.ipynb", parameters="a = 1  # number: of things")
    with pytest.raises(ValueError, match="a is 2: its comment says 'number'; expected one of int, float, str"):
        settings.check_parameters({"a": 2}, path, "--set")


def test_a_parameter_without_a_kind_in_its_comment_takes_that_of_its_default(tmp_path):
    path = make_notebook(tmp_path / "01_x.ipynb", parameters='seed = 0\nname = "a"  # whose it is\nany = None')
    settings.check_parameters({"seed": 2, "name": "b", "any": [1]}, path, "--set")
    with pytest.raises(ValueError, match="seed is 'two': expected int"):
        settings.check_parameters({"seed": "two"}, path, "--set")
    with pytest.raises(ValueError, match="name is 3: expected str"):
        settings.check_parameters({"name": 3}, path, "--set")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image", "expected name=value"), ("=3", "expected name=value"), ("lr=[1, 2", "value of lr is not YAML"),
        ("a=2020-13-45", "value of a is not YAML"), ("a={b: 1, b: 2}", "b stands twice"),
        ("a=!!python/object:os.system x", "not YAML"),
    ],
)  # fmt: skip
def test_wrong_values_of_the_command_line_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        settings.parse_value(text)


def test_a_name_that_stands_twice_in_a_file_is_an_error(tmp_path):
    (tmp_path / "p.yml").write_text("a: &x {n: 1}\nb: {<<: *x, m: 2}\n")
    assert settings.read_yaml(tmp_path / "p.yml") == {"a": {"n": 1}, "b": {"n": 1, "m": 2}}
    (tmp_path / "p.yml").write_text("epochs: 3\nseed: 1\nepochs: 5\n")
    with pytest.raises(ValueError, match=r"p\.yml: not YAML in UTF-8 \(epochs stands twice"):
        settings.read_yaml(tmp_path / "p.yml")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 3}', '{"cells": [{"source": "x"}]}', "\xff"])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "n.ipynb").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"n\.ipynb: not a notebook"):
        settings.read_parameters(tmp_path / "n.ipynb")
