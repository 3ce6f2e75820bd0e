"""Results files: whole or absent, with where they came from; tables that say synthetic; disk full; broken files."""

import json
import time

import numpy as np
import pytest

from camlib import paper, results
from camlib.metrics import localization_errors


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


def test_a_submission_file_makes_the_round_trip_and_scores_the_same(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 20, 30)
    gt = [np.array([[10.0, 20.0, 60.0, 90.0]])] * 30
    classes = rng.integers(0, 20, (30, 5))
    classes[::2, 1] = truth[::2]
    boxes = np.array([10.0, 20.0, 60.0, 90.0]) + rng.uniform(-9, 9, (30, 5, 4))
    ids = rng.permutation(20) + 1  # devkit IDs are in another order than the wnids
    path = tmp_path / "submission.txt"
    results.write_submission(path, classes, boxes, ids)
    first = path.read_text().splitlines()[0].split()
    assert len(first) == 25
    assert int(first[0]) == ids[classes[0, 0]]
    assert float(first[3]) == pytest.approx(boxes[0, 0, 2] - 1)  # the devkit counts inclusive pixels
    read_classes, read_boxes = results.read_submission(path, ids)
    assert np.array_equal(read_classes, classes)
    np.testing.assert_allclose(read_boxes, boxes, atol=1e-6)
    scored, again = (localization_errors(c, b, truth, gt) for c, b in ((classes, boxes), (read_classes, read_boxes)))
    assert np.array_equal(scored.loc_wrong, again.loc_wrong)
    assert 0 < scored.loc[4] < 1
    path.write_text(path.read_text() + "1 2 3\n")
    with pytest.raises(ValueError, match=r"submission\.txt, line 31"):
        results.read_submission(path, ids)
    path.write_text("999 1 2 3 4\n")
    with pytest.raises(ValueError, match=r"line 1.*999"):
        results.read_submission(path, ids)
