"""Profiles and their data, settings checked by name."""

import nbformat
import pytest
import yaml
from builders import PARAMETERS, make_notebook

from camlib import cli, datasets
from camlib.report import plan


def planned(project, profile):
    return (project / "reports" / profile / "01_x.params.yml").read_text()


def test_auto_takes_the_richest_profile_whose_data_is_there(project, monkeypatch, capsys):
    plan.write_plan("auto")
    assert planned(project, "auto").startswith("# profile: mini")
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: name != "ilsvrc2012")
    plan.write_plan("auto")
    assert planned(project, "auto").startswith("# profile: tiny")
    assert yaml.safe_load(planned(project, "auto"))["dataset"] == "tiny-imagenet-200"
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: True)
    plan.write_plan("auto")
    assert planned(project, "auto").startswith("# profile: full")
    assert "01_x: profile full" in capsys.readouterr().out


def test_settings_that_change_nothing_are_no_richer_profile(project):
    (project / "params" / "full.yml").write_text("01_x: {}\n")
    plan.write_plan("auto")
    assert planned(project, "auto").startswith("# profile: mini")


def test_auto_keeps_those_of_several_targets_that_are_there(project, monkeypatch, capsys):
    make_notebook(
        project / "notebooks" / "01_x.ipynb", parameters=PARAMETERS + '\ntargets = ["synthetic-transfer"]  # l'
    )
    (project / "params" / "full.yml").write_text("01_x: {targets: [sun397, caltech101, event8]}\n")
    plan.write_plan("auto")
    assert planned(project, "auto").startswith("# profile: mini"), "none is there"
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: name == "caltech101")
    plan.write_plan("auto")
    assert planned(project, "auto").startswith("# profile: full")
    assert yaml.safe_load(planned(project, "auto"))["targets"] == ["caltech101"]
    assert "01_x: profile full (caltech101)" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"sun397: (.|\n)*event8|event8: (.|\n)*sun397"):
        plan.write_plan("full")


def test_auto_keeps_the_features_whose_weights_are_there(project, monkeypatch):
    make_notebook(
        project / "notebooks" / "01_x.ipynb",
        parameters=PARAMETERS + '\ntargets = []  # l: t\nrows = []  # l: r\ntrained_on = ""  # s: t',
    )
    rows = [["fc7", "alexnet_fc7", "avg", "torchvision", ""], ["pool", "googlenet", "avg", "torchvision", ""]]
    rows += [["own", "googlenet_gap", "avg", "finetune", ""], ["file", "nin", "avg", "nin.pt", ""]]
    settings = {"01_x": {"targets": ["event8"], "rows": rows, "trained_on": "ilsvrc2012"}}
    (project / "params" / "full.yml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("TORCH_HOME", str(project / "torch"))
    there = {"event8"}
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: name in there)

    def labels():
        plan.write_plan("auto")
        return [row[0] for row in yaml.safe_load(planned(project, "auto")).get("rows", [])]

    assert labels() == []
    assert planned(project, "auto").startswith("# profile: mini")
    for path in ("torch/hub/checkpoints/googlenet-1378be20.pth", "raw/nin.pt"):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).touch()
    assert labels() == ["pool", "file"]
    there.add("ilsvrc2012")
    assert labels() == ["pool", "own", "file"]


def test_a_profile_without_its_data_says_what_is_missing_where_it_goes_and_how_to_get_it(project):
    with pytest.raises(FileNotFoundError) as error:
        plan.write_plan("tiny")
    message = str(error.value)
    assert "tiny-imagenet-200.zip" in message
    assert str(project / "raw") in message
    assert "90528d7ca1a48142e341f4ef8d21d0de" in message
    assert not (project / "reports").exists(), "nothing may have run"


def test_an_unchanged_plan_leaves_its_files_untouched(project):
    plan.write_plan("mini")
    path = project / "reports" / "mini" / "01_x.params.yml"
    before = path.stat().st_mtime_ns
    plan.write_plan("mini")
    assert path.stat().st_mtime_ns == before


def test_reduced_settings_take_over_where_there_is_no_gpu(project, monkeypatch, capsys):
    (project / "params" / "tiny-cpu.yml").write_text("01_x: {seed: 5}\n")
    assert plan.read_profile("tiny") == {"01_x": {"dataset": "tiny-imagenet-200"}}
    monkeypatch.setattr(plan, "has_gpu", lambda: False)
    assert plan.read_profile("tiny") == {"01_x": {"dataset": "tiny-imagenet-200", "seed": 5}}
    assert "tiny-cpu.yml" in capsys.readouterr().out


def test_misspelt_names_are_errors(project):
    with pytest.raises(ValueError, match="unknown profile 'tinny'"):
        plan.write_plan("tinny")
    (project / "params" / "tiny.yml").write_text("01_x: {sedd: 1}\n")
    with pytest.raises(ValueError, match=r"tiny\.yml: 01_x has no parameter 'sedd'; it has dataset, seed, report_dir"):
        plan.write_plan("tiny")
    (project / "params" / "tiny.yml").write_text("01_y: {seed: 1}\n")
    with pytest.raises(ValueError, match="no notebook is called '01_y'"):
        plan.write_plan("tiny")
    with pytest.raises(ValueError, match="has no parameter 'sead'"):
        cli.run(project / "notebooks" / "01_x.ipynb", project / "out", None, ["sead=3"])


def test_a_parameters_cell_must_be_one_cell_of_literals(project):
    path = make_notebook(project / "notebooks" / "02_y.ipynb", parameters="import os")
    with pytest.raises(ValueError, match="assignments of literals"):
        plan.read_parameters(path)
    notebook = nbformat.read(path, 4)
    notebook.cells = notebook.cells[:1]
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match="0 cells are tagged"):
        plan.read_parameters(path)
