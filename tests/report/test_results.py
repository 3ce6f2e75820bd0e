"""Results files: whole or absent, with where they came from; tables that say synthetic; disk full; broken files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import dataset_of

from camlib.report import records, tables
from camlib.report.results import Experiment, parameters
from camlib.report.tables import as_plot_row, pivot_values
from camlib.train import Network
from camlib.transforms import get_preset

SETTINGS = {"seed": 7, "data": {"dataset": "d", "n": 9}, "thresholds": [0.2]}
PLACE = ("Table 2", "GoogLeNet-GAP", "top-1")
WRONG = np.repeat([True, False], [5, 3])


@pytest.fixture
def images():
    return dataset_of(np.zeros((8, 4, 4, 3), np.uint8), [0, 1] * 4, synthetic=True)


@pytest.fixture
def exp(tmp_path, images):
    made = Experiment("01_x", SETTINGS, tmp_path)
    made.uses(images)
    return made


def test_parameters_are_the_literals_assigned_so_far():
    namespace = {"seed": 3, "names": ["a"], "In": [""], "Out": {}, "_ih": [], "np": np, "len": len, "nothing": None}
    assert parameters(namespace) == {"seed": 3, "names": ["a"], "nothing": None}


def test_a_results_file_holds_value_interval_paper_and_provenance(exp, tmp_path):
    exp.add("top-1 localization error", WRONG, model="GAP", paper=PLACE)
    exp.write(title="T", claim="C", headline="H", verdict="V")
    (record,) = records.read_results(tmp_path)
    (value,) = record["values"]
    assert (value["value"], value["n"], value["unit"]) == (62.5, 8, "%")
    assert value["interval"][0] < 62.5 < value["interval"][1]
    assert value["interval_kind"] == "Wilson"
    where = {"table": PLACE[0], "row": PLACE[1], "column": PLACE[2]}
    assert value["paper"] == {"text": "56.40", "value": 56.4, **where, "not_comparable": "synthetic data"}
    assert (value["dataset"], value["synthetic"]) == ("planted", True)
    assert record["settings"] == SETTINGS
    assert (record["seed"], record["schema"]) == (7, records.SCHEMA)
    assert record["versions"]["torch"]
    assert record["device"]
    assert [data["fingerprint"] for data in record["datasets"]] == [exp.datasets[0].fingerprint]
    assert len(record["git_commit"]) >= 7


def test_each_value_is_of_the_dataset_used_last(exp, images):
    exp.add("error", WRONG)
    real = dataset_of(np.ones((8, 4, 4, 3), np.uint8), [0] * 8)
    exp.uses(real)
    exp.add("error on photographs", WRONG)
    assert [value["synthetic"] for value in exp.values] == [True, False]
    exp.uses(images)
    assert len(exp.datasets) == 2, "the same images are listed once"


def test_comparisons_are_paired_and_write_the_verdict(exp):
    found = exp.compare("GAP", np.zeros(8), "GMP", np.ones(8), "accuracy", words=("higher", "lower"))
    assert found.difference == -100
    exp.compare("GAP", WRONG, "centre box", WRONG, "accuracy")
    assert [c["verdict"] for c in exp.comparisons] == ["lower", "no difference seen"]
    assert exp.verdict().startswith("Accuracy, GAP against GMP: ")
    assert exp.verdict("nothing of the kind") == ""
    assert exp.verdict(against="centre box").startswith("Accuracy, GAP against centre box: no difference seen")
    assert exp.comparisons[0]["interval"] == [-100, -100]


def test_two_methods_over_seeds_stand_with_their_difference(exp):
    exp.compare_seeds("error", {"GAP": np.full((2, 8), 30.0), "GMP": np.full((2, 8), 35.0)}, paper={"GAP": PLACE})
    assert [(v["model"], v["value"], v["unit"]) for v in exp.values] == [
        ("GAP", 30, "%"), ("GMP", 35, "%"), ("GAP - GMP", -5, "points"),
    ]  # fmt: skip
    assert exp.values[0]["paper"]["text"] == "56.40"


def test_the_table_has_a_row_per_model_and_the_paper_beside(exp):
    exp.add_number("error", 58.25, n=8, interval=(53.5, 63.0), model="GAP", paper=PLACE)
    exp.add_number("accuracy", 41.0, n=8, model="GAP")
    exp.add_number("error", 60.0, n=8, model="GMP")
    table = exp.table()
    assert list(table.index) == ["GAP", "GMP"]
    beside = "paper, not comparable: error"
    assert list(table.columns) == ["error, % (synthetic)", beside, "accuracy, % (synthetic)"]
    assert list(table.iloc[0]) == ["58.2 [53.5, 63.0]", "56.40 (synthetic data)", "41.0"]
    assert list(table.iloc[1]) == ["60.0", "", ""]
    assert list(exp.table(["error"], rows="name").columns) == [
        "GAP (synthetic)",
        "paper, not comparable: GAP",
        "GMP (synthetic)",
    ]


@pytest.mark.parametrize(
    ("name", "part", "of_paper", "why"),
    [
        ("ilsvrc2012", False, True, ""),
        ("ilsvrc2012", True, True, "8 of 50,000 images"),
        ("ilsvrc2012", False, False, "another network"),
        ("cub200", True, False, "another dataset: cub200; 8 of 50,000 images; another network"),
    ],
)
def test_a_number_of_the_paper_is_compared_only_with_its_like(tmp_path, name, part, of_paper, why):
    images = replace(dataset_of(np.zeros((8, 4, 4, 3), np.uint8), [0, 1] * 4), name=name)
    images.info |= {"whole": 50_000} if part else {}
    exp = Experiment("01_x", SETTINGS, tmp_path)
    exp.uses(images)
    network = Network(torch.nn.Linear(1, 1), get_preset("imagenet"), [], [], "somewhere", of_paper)  # type: ignore
    exp.uses_networks({"GAP": network})
    value = exp.add("error", WRONG, model="GAP", paper=PLACE)
    assert value["paper"]["not_comparable"] == why
    assert value["subset"] == part
    assert ("paper: error" in exp.table().columns) == (not why)
    assert as_plot_row(value)["comparable"] == (not why)


def test_long_tables_are_folded(exp):
    for k in range(15):
        exp.add_number("error", k, n=8, model=f"network {k}")
    page = exp.table()._repr_html_()
    assert page.index("network 11") < page.index("3 more rows") < page.index("network 12")


def test_a_table_does_not_drop_one_of_two_values(exp):
    exp.add("error", WRONG, model="GAP")
    with pytest.raises(ValueError, match="two values are called error, GAP"):
        pivot_values([*exp.values, *exp.values])


def test_two_values_of_one_name_are_refused(exp):
    exp.add("error", WRONG, model="GAP")
    exp.add("error", WRONG, model="GMP")
    with pytest.raises(ValueError, match="error, GAP: a value of that name was added before"):
        exp.add("error", WRONG, model="GAP")


def test_nan_and_empty_results_are_refused(exp, tmp_path):
    with pytest.raises(ValueError, match="x: n is 0"):
        exp.add_number("x", 1.0, n=0)
    exp.add_number("x", float("nan"), n=3)
    with pytest.raises(ValueError, match="not JSON compliant"):
        exp.write(title="T", claim="C", headline="H")
    assert not list(tmp_path.iterdir())


def test_cut_and_older_results_files_are_named(exp, tmp_path):
    exp.add("error", WRONG)
    exp.write(title="T", claim="C", headline="H")
    path = tmp_path / "01_x.json"
    whole = path.read_text()
    for broken in (whole[:50], json.dumps(json.loads(whole) | {"schema": 1})):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"01_x\.json"):
            records.read_results(tmp_path)


def test_errors_stand_beside_the_paper(tmp_path, folder_dataset):
    classes = np.stack([folder_dataset.labels, 1 - folder_dataset.labels], 1)
    right = np.stack([b[0] for b in folder_dataset.boxes])
    boxes = np.stack([right, right], 1)
    boxes[0] += 100  # one image's boxes are off
    exp = Experiment("01_x", SETTINGS, tmp_path)
    exp.uses(folder_dataset)
    exp.add_errors("GAP", classes, boxes, folder_dataset, paper_row="GoogLeNet-GAP")
    by_name = {v["name"]: v for v in exp.values}
    assert by_name["top-1 classification error"]["value"] == 0
    assert by_name["top-1 localization error"]["value"] == pytest.approx(100 / 7)
    assert by_name["top-1 localization error"]["paper"]["text"] == "56.40"
    assert by_name["top-1 classification error"]["paper"]["text"] == "35.0"
    low, high = by_name["top-1 localization error"]["interval"]
    assert low <= 100 / 7 <= high
    assert tables.format_value(by_name["top-1 localization error"]).startswith("14.3 [")
