"""What make calls: failed notebooks, self-contained pages."""

import json
import os

import pytest
from builders import make_notebook
from typer.testing import CliRunner

from camlib import cli


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
    notebook = make_notebook(project / "notebooks" / "01_x.ipynb", body)
    cli.run(notebook, out, out / "01_x.params.yml", None)
    cli.render(out / "01_x.ipynb")
    page = (out / "01_x.html").read_text()
    assert "visible" in page
    assert "<script" not in page
    assert 'src="http' not in page
    outputs = page[page.index("visible") :]
    assert "bar</pre>" not in outputs
    cli.index(out)
    assert "01_x.html" in (out / "index.html").read_text()


@pytest.mark.parametrize("text", ["", "# nothing\n", "\ufeffseed: 0\n"])
def test_a_parameters_file_may_be_empty(project, text):
    notebook = make_notebook(project / "notebooks" / "01_x.ipynb")
    (project / "p.yml").write_text(text, encoding="utf-8")
    cli.run(notebook, project / "out", project / "p.yml", None)
    assert (project / "out" / "01_x.ipynb").exists()


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("- a\n", [], r"p\.yml: holds list; expected a mapping"),
        ("seed: [1, 2\n", [], r"p\.yml: not YAML"),
        ("sead: 1\n", [], r"p\.yml: 01_x has no parameter 'sead'"),
        ("", ["seed=[1, 2"], r"--set seed=\[1, 2: the value of seed is not YAML"),
    ],
)
def test_wrong_parameters_are_named_before_anything_runs(project, text, given, message):
    notebook = make_notebook(project / "notebooks" / "01_x.ipynb")
    (project / "p.yml").write_text(text)
    with pytest.raises(ValueError, match=message):
        cli.run(notebook, project / "out", project / "p.yml", given)
    assert not (project / "out").exists()


def test_settings_of_the_shell_do_not_reach_the_notebooks(project, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    body = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    cli.run(make_notebook(project / "notebooks" / "01_x.ipynb", body), project / "out", None, None)
    assert "image/png" in (project / "out" / "01_x.ipynb").read_text()
    assert not {"MPLBACKEND", "ACCELERATE_MIXED_PRECISION"} & set(os.environ)
