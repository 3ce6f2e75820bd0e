"""Results files: whole or absent, with where they came from; tables that say synthetic; disk full; broken files."""

import json
import time

import numpy as np
import pytest

from camlib.report import paper, results


def write(folder, **changes):
    value = results.measured("top-1 localization error", 58.25, n=400, interval=(53.5, 63.0), model="GAP",
                             paper=paper.lookup("Table 2", "GoogLeNet-GAP", "top-1"))  # fmt: skip
    dataset = {"name": "d", "split": "val", "n": 9, "classes": 3, "source": "s"}
    dataset |= {"fingerprint": "f", "synthetic": True}
    arguments = {"title": "T", "claim": "C", "verdict": "V", "values": [value], "dataset": dataset,
                 "settings": {"seed": 7}, "started": time.time()}  # fmt: skip
    return results.write_results(folder, "01_x", **(arguments | changes))


def test_a_results_file_holds_value_interval_paper_and_provenance(tmp_path):
    write(tmp_path)
    (record,) = results.read_results(tmp_path)
    value = record["values"][0]
    assert (value["value"], value["interval"], value["n"], value["unit"]) == (58.25, [53.5, 63.0], 400, "%")
    assert value["paper"]["text"] == "56.40"
    assert value["paper"]["table"] == "Table 2"
    assert record["seed"] == 7
    assert record["versions"]["torch"]
    assert record["device"]
    assert record["dataset"]["fingerprint"] == "f"
    assert len(record["git_commit"]) >= 7


def test_the_table_says_synthetic_and_shows_the_paper_beside(tmp_path):
    record = json.loads(write(tmp_path).read_text())
    synthetic = results.results_table(record["values"], synthetic=True)
    assert list(synthetic["measured (synthetic data)"]) == ["58.2 [53.5, 63.0]"]
    assert list(synthetic["paper"]) == ["56.40"]
    assert "measured" in results.results_table(record["values"], synthetic=False).columns


def test_nan_and_empty_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path, values=[results.measured("x", float("nan"), n=3)])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="n is 0"):
        results.measured("x", 1.0, n=0)


def test_a_cut_results_file_is_named(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=r"01_x\.json"):
        results.read_results(tmp_path)


def test_error_values_stand_beside_the_paper(folder_dataset):
    classes = np.stack([folder_dataset.labels, 1 - folder_dataset.labels], 1)
    right = np.stack([b[0] for b in folder_dataset.boxes])
    boxes = np.stack([right, right], 1)
    boxes[0] += 100  # one image's boxes are off
    values = results.error_values("GAP", classes, boxes, folder_dataset, paper_row="GoogLeNet-GAP")
    by_name = {v["name"]: v for v in values}
    assert by_name["top-1 classification error"]["value"] == 0
    assert by_name["top-1 localization error"]["value"] == pytest.approx(100 / 7)
    assert by_name["top-1 localization error"]["paper"]["text"] == "56.40"
    assert by_name["top-1 classification error"]["paper"]["text"] == "35.0"
    low, high = by_name["top-1 localization error"]["interval"]
    assert low <= 100 / 7 <= high
    assert results.format_measured(by_name["top-1 localization error"]).startswith("14.3 [")
