"""What make calls: failed notebooks, self-contained pages."""

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from builders import make_notebook
from PIL import Image
from typer.testing import CliRunner

from camlib import cli, store


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
    body = "import matplotlib.pyplot as plt\nfrom camlib import viz\nviz.set_style()\nplt.plot([1, 2])\nplt.show()"
    cli.run(make_notebook(project / "notebooks" / "01_x.ipynb", body), project / "out", None, None)
    text = (project / "out" / "01_x.ipynb").read_text()
    assert text.count('"image/png"') == 1
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    (output,) = [output for output in outputs if "image/png" in output.get("data", {})]
    with Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))) as picture:
        assert picture.width // 2 == output["metadata"]["width"], "twice as sharp as it is large"
    assert not {"MPLBACKEND", "ACCELERATE_MIXED_PRECISION"} & set(os.environ)


def camlib(*arguments, **given):
    command = [sys.executable, "-m", "camlib", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **given)


def test_ctrl_c_ends_with_one_sentence_and_leaves_no_process(tmp_path):
    body = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)"
    notebook = make_notebook(tmp_path / "notebooks" / "01_x.ipynb", body)
    hold = [sys.executable, "-m", "camlib", "run", notebook, "--out", tmp_path / "out"]
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a shell's background job ignores it
    process = camlib("hold", tmp_path / "held", "--", *hold, start_new_session=True, **heard)
    pid = notebook.with_name("pid")
    while not pid.exists() or not pid.read_text():
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output = process.communicate(timeout=60)[0]
    said = [line for line in output.splitlines() if line]
    assert said == ["01_x ...", "camlib: stopped; run the same command again to go on"]
    assert process.returncode
    assert not store._is_running(int(pid.read_text()))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["01_x.partial.ipynb"]
    assert list((tmp_path / "held").iterdir()) == []


def test_a_report_has_one_writer(project):
    out = project / "reports" / "mini"
    cli.plan("mini")
    notebook = make_notebook(project / "notebooks" / "01_x.ipynb")
    who = rf"process {os.getpid()} on {store.HOST} \(as a test, since "
    with store.hold(out / ".01_x.lock", "as a test"), pytest.raises(BlockingIOError, match=who):
        cli.run(notebook, out, None, None)
    with store.hold(out / ".lock", "as a test"):
        with pytest.raises(BlockingIOError, match=who):
            cli.plan("mini")
        result = CliRunner().invoke(cli.app, ["hold", str(out), "--", "touch", str(project / "ran")])
        assert isinstance(result.exception, BlockingIOError)
    assert not (project / "ran").exists()
    done = CliRunner().invoke(cli.app, ["hold", str(out), "--", sys.executable, "-c", "import sys; sys.exit(3)"])
    assert done.exit_code == 3


def test_a_folder_that_cannot_be_written_is_said_in_a_line_before_anything_runs(project):
    notebook = make_notebook(project / "notebooks" / "01_x.ipynb", "open('ran', 'w')")
    with pytest.raises(OSError, match=r"/dev/null/out cannot be written \(Not a directory\): choose another folder"):
        cli.run(notebook, Path("/dev/null/out"), None, None)
    body = "from camlib.report.results import Experiment\nExperiment('01_x', {}, report_dir)\nopen('ran', 'w')"
    make_notebook(project / "notebooks" / "01_x.ipynb", body)
    with pytest.raises(OSError, match=r"/dev/null/x cannot be written \(Not a directory\): choose another folder"):
        cli.run(notebook, project / "out", None, ["report_dir=/dev/null/x"])
    assert not notebook.with_name("ran").exists()


def test_a_data_folder_that_is_none_is_no_reason_for_drawn_data(project, monkeypatch):
    monkeypatch.setenv("CAMLIB_DATA", "no where")
    for command in (lambda: cli.plan("auto"), lambda: cli.data.start(None)):
        with pytest.raises(OSError, match=f"CAMLIB_DATA is 'no where'; {project}/no where is no folder"):
            command()
    cli.plan("mini")
    assert (project / "reports" / "mini" / "01_x.params.yml").exists(), "which needs none"


def test_a_wheel_without_its_checkout_says_what_to_do_and_writes_nothing_into_itself(tmp_path):
    root, copy, site = Path(cli.__file__).parents[2], tmp_path / "copy", tmp_path / "site-packages"
    shutil.copytree(root / "camlib", copy / "camlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    built = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=True)
    zipfile.ZipFile(tmp_path / built.stdout.split()[-1]).extractall(site)
    assert (site / "camlib" / "report" / "templates" / "style.css").exists()
    before = sorted(site.rglob("*"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAMLIB")}
    environment |= {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    for command in (["plan", "mini"], ["readme"], ["evidence"]):
        process = camlib(*command, cwd=tmp_path, env=environment)
        lines = process.communicate()[0].splitlines()
        assert (process.returncode, len(lines)) == (1, 1), lines
        assert lines[0].startswith(f"camlib: camlib runs from {site}, which is no checkout of it")
        assert "clone the project" in lines[0]
    assert sorted(site.rglob("*")) == before
