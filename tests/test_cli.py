"""What make calls: profiles and their data, parameters checked by name, failed notebooks, self-contained pages."""

import json

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner

from camlib import cli, datasets

PARAMETERS = 'dataset = "synthetic-objects"  # str: data\nseed = 0  # int: seed\nreport_dir = "."  # str: folder'


def make_notebook(path, body="print(seed)", parameters=PARAMETERS):
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# T"), tagged, new_code_cell(body)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project with one notebook; nothing but the embedded data is there."""
    monkeypatch.setattr(cli, "PROJECT_ROOT", tmp_path)
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path / "raw"))
    monkeypatch.setattr(cli, "has_gpu", lambda: True)
    make_notebook(tmp_path / "notebooks" / "01_x.ipynb")
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "tiny.yml").write_text("01_x: {dataset: tiny-imagenet-200}\n")
    (tmp_path / "params" / "full.yml").write_text("01_x: {dataset: ilsvrc2012}\n")
    return tmp_path


def planned(project, profile):
    return (project / "reports" / profile / "01_x.params.yml").read_text()


def test_auto_takes_the_richest_profile_whose_data_is_there(project, monkeypatch, capsys):
    cli.plan("auto")
    assert planned(project, "auto").startswith("# profile: mini")
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: name != "ilsvrc2012")
    cli.plan("auto")
    assert planned(project, "auto").startswith("# profile: tiny")
    assert yaml.safe_load(planned(project, "auto"))["dataset"] == "tiny-imagenet-200"
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: True)
    cli.plan("auto")
    assert planned(project, "auto").startswith("# profile: full")
    assert "01_x: profile full" in capsys.readouterr().out


def test_settings_that_change_nothing_are_no_richer_profile(project):
    (project / "params" / "full.yml").write_text("01_x: {}\n")
    cli.plan("auto")
    assert planned(project, "auto").startswith("# profile: mini")


def test_auto_keeps_those_of_several_targets_that_are_there(project, monkeypatch, capsys):
    make_notebook(
        project / "notebooks" / "01_x.ipynb", parameters=PARAMETERS + '\ntargets = ["synthetic-transfer"]  # l'
    )
    (project / "params" / "full.yml").write_text("01_x: {targets: [sun397, caltech101, event8]}\n")
    cli.plan("auto")
    assert planned(project, "auto").startswith("# profile: mini"), "none is there"
    monkeypatch.setattr(datasets, "is_available", lambda name, root=None, train=False: name == "caltech101")
    cli.plan("auto")
    assert planned(project, "auto").startswith("# profile: full")
    assert yaml.safe_load(planned(project, "auto"))["targets"] == ["caltech101"]
    assert "01_x: profile full (caltech101)" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"sun397: (.|\n)*event8|event8: (.|\n)*sun397"):
        cli.plan("full")


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
        cli.plan("auto")
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
        cli.plan("tiny")
    message = str(error.value)
    assert "tiny-imagenet-200.zip" in message
    assert str(project / "raw") in message
    assert "90528d7ca1a48142e341f4ef8d21d0de" in message
    assert not (project / "reports").exists(), "nothing may have run"


def test_an_unchanged_plan_leaves_its_files_untouched(project):
    cli.plan("mini")
    path = project / "reports" / "mini" / "01_x.params.yml"
    before = path.stat().st_mtime_ns
    cli.plan("mini")
    assert path.stat().st_mtime_ns == before


def test_reduced_settings_take_over_where_there_is_no_gpu(project, monkeypatch, capsys):
    (project / "params" / "tiny-cpu.yml").write_text("01_x: {seed: 5}\n")
    assert cli.read_profile("tiny") == {"01_x": {"dataset": "tiny-imagenet-200"}}
    monkeypatch.setattr(cli, "has_gpu", lambda: False)
    assert cli.read_profile("tiny") == {"01_x": {"dataset": "tiny-imagenet-200", "seed": 5}}
    assert "tiny-cpu.yml" in capsys.readouterr().out


def test_misspelt_names_are_errors(project):
    with pytest.raises(ValueError, match="unknown profile 'tinny'"):
        cli.plan("tinny")
    (project / "params" / "tiny.yml").write_text("01_x: {sedd: 1}\n")
    with pytest.raises(ValueError, match=r"tiny\.yml: 01_x has no parameter 'sedd'; it has dataset, seed, report_dir"):
        cli.plan("tiny")
    (project / "params" / "tiny.yml").write_text("01_y: {seed: 1}\n")
    with pytest.raises(ValueError, match="no notebook is called '01_y'"):
        cli.plan("tiny")
    with pytest.raises(ValueError, match="has no parameter 'sead'"):
        cli.run(project / "notebooks" / "01_x.ipynb", project / "out", None, ["sead=3"])


def test_a_parameters_cell_must_be_one_cell_of_literals(project):
    path = make_notebook(project / "notebooks" / "02_y.ipynb", parameters="import os")
    with pytest.raises(ValueError, match="assignments of literals"):
        cli.read_parameters(path)
    notebook = nbformat.read(path, 4)
    notebook.cells = notebook.cells[:1]
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match="0 cells are tagged"):
        cli.read_parameters(path)


def test_run_takes_the_name_only_after_success(project):
    out = project / "out"
    cli.run(make_notebook(project / "notebooks" / "01_x.ipynb", "print(seed * 2)"), out, None, ["seed=21"])
    executed = json.loads((out / "01_x.ipynb").read_text())
    assert executed["cells"][-1]["outputs"][0]["text"] == ["42\n"]
    (out / "01_x.ipynb").unlink()
    failing = make_notebook(project / "notebooks" / "01_x.ipynb", "print('so far')\n1 / 0")
    result = CliRunner().invoke(cli.app, ["run", str(failing), "--out", str(out)])
    assert result.exit_code == 1
    assert "1 / 0" in result.output
    assert "ZeroDivisionError" in result.output
    assert [p.name for p in out.iterdir()] == ["01_x.partial.ipynb"]
    assert "so far" in (out / "01_x.partial.ipynb").read_text()


def test_pages_are_self_contained_and_drop_progress_bars(project):
    out = project / "reports" / "mini"
    cli.plan("mini")
    body = "import sys\nprint('visible')\nprint('bar', file=sys.stderr)"
    cli.run(make_notebook(project / "notebooks" / "01_x.ipynb", body), out, None, None)
    cli.render(out / "01_x.ipynb")
    page = (out / "01_x.html").read_text()
    assert "visible" in page
    assert "<script" not in page
    assert 'src="http' not in page
    outputs = page[page.index("visible") :]
    assert "bar</pre>" not in outputs
    cli.index(out)
    assert "01_x.html" in (out / "index.html").read_text()
