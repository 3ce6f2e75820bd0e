"""What make calls: failed notebooks, self-contained pages."""

import json

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
