"""The Makefile: what it hands on, what it refuses, also as the make 3.81 of macOS reads it; git and notebooks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from builders import make_notebook
from nbformat.v4 import new_output

from camlib.report.saving import refresh_index

ROOT = Path(__file__).resolve().parents[1]
# No .SHELLFLAGS before 3.82: a recipe has no -e and no pipefail.
AS_ON_MACOS = ".SHELLFLAGS=-c"


@pytest.fixture
def checkout(tmp_path):
    """The Makefile in a folder whose name has a space and an umlaut; its programs say how they were called."""
    folder = tmp_path / "my späce"
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml", ".gitattributes"):
        shutil.copy(ROOT / name, folder)
    (folder / "params").mkdir()
    shutil.copy(ROOT / "params" / "profiles.yml", folder / "params")
    for name in ("camlib", "jupyter", "python", "papermill", "nbstripout"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" "[$CAMLIB_DATA][$CAMLIB_CACHE]"\n')
        (programs / name).chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    return folder


def make(folder, *arguments, **environment):
    given = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "CAMLIB", "CONDA"))}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env=given | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("given", ["mini ", " mini", "mini"])
def test_a_profile_may_have_spaces_around_it(given, checkout):
    for done in (make(checkout, "reproduce", f"PROFILE={given}"), make(checkout, "reproduce", PROFILE=given)):
        assert done.returncode == 0, done.stderr
        first, second, last = done.stdout.splitlines()
        assert first.startswith("camlib plan mini [")
        assert second.startswith("camlib hold reports/mini -- make --no-print-directory planned PROFILE=mini [")
        assert last == "report: reports/mini/index.html"


def test_no_profile_is_auto_and_two_are_none(checkout):
    assert "camlib plan auto" in make(checkout, "reproduce", "PROFILE=").stdout
    done = make(checkout, "reproduce", "PROFILE=mini full")
    assert "PROFILE is 'mini full'; expected one name" in done.stderr
    assert done.returncode
    assert done.stdout == ""


@pytest.mark.parametrize("place", ["/x/my data", "~/bilder ä", "../raw", "raw"])
def test_folders_of_data_and_caches_reach_the_programs_as_they_are_given(place, checkout):
    by_shell = make(checkout, "data", CAMLIB_DATA=place, CAMLIB_CACHE=place)
    by_make = make(checkout, "data", f"CAMLIB_DATA={place}", f"CAMLIB_CACHE={place}")
    assert by_shell.stdout == by_make.stdout == f"camlib data [{place}][{place}]\n"


@pytest.mark.parametrize(
    ("target", "folder", "failing"), [("bench", "benchmarks", "python"), ("references", "notebooks", "papermill")]
)
def test_a_loop_ends_with_its_first_failure(target, folder, failing, checkout):
    (checkout / folder).mkdir()
    for name in ("0_a", "0_b"):
        (checkout / folder / f"{name}.{'py' if folder == 'benchmarks' else 'ipynb'}").touch()
    (checkout / folder / "about.md").touch()
    program = checkout / ".venv" / "bin" / failing
    program.write_text('#!/bin/sh\necho "$@" >> calls\ncase "$*" in *0_a*) exit 3;; esac\n')
    done = make(checkout, target, AS_ON_MACOS)
    assert done.returncode
    assert "0_b" not in (checkout / "calls").read_text()


def test_touched_code_and_notebooks_run_nothing_and_a_changed_plan_runs_its_own(checkout):
    report = checkout / "reports" / "mini"
    names = [
        f"{name}.{suffix}" for suffix in ("params.yml", "ipynb", "html") for name in ("01_x", "02_y", "90_summary")
    ]
    for i, name in enumerate(
        ["camlib/report/pages.py", *(f"reports/mini/{name}" for name in names), "reports/mini/index.html"]
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
        os.utime(checkout / name, (1e9 + i, 1e9 + i))
    (checkout / "notebooks").mkdir()
    for name in ("notebooks/01_x.ipynb", "camlib/boxes.py", "camlib/cam.py", "Makefile"):
        (checkout / name).touch()
    assert "camlib" not in make(checkout, "planned", "PROFILE=mini").stdout
    (report / "02_y.params.yml").touch()
    ran = make(checkout, "planned", "PROFILE=mini").stdout
    assert "camlib run notebooks/02_y.ipynb --out reports/mini --params reports/mini/02_y.params.yml" in ran
    assert "01_x" not in ran
    (checkout / "camlib" / "report" / "pages.py").touch()
    (checkout / ".venv" / "bin" / "camlib").write_text(
        '#!/bin/sh\necho "$@"\ncase "$*" in render*02_y*) exit 3;; esac\n'
    )
    done = make(checkout, "planned", "PROFILE=mini", AS_ON_MACOS)
    assert done.returncode, "a page that could not be rendered"
    assert "render reports/mini/01_x.ipynb" in done.stdout
    assert "index" not in done.stdout


def test_jupyter_opens_with_the_whole_project_and_takes_arguments(checkout):
    call = make(checkout, "lab", "ARGS=--no-browser").stdout.splitlines()[-1]
    assert call.startswith("jupyter lab ")
    assert "--no-browser" in call
    assert "lab notebooks" not in call, "that folder would be the root"
    hook = call.partition("post_save_hook=")[2].split()[0]
    assert hook == f"{refresh_index.__module__}.{refresh_index.__name__}"


def test_an_active_conda_environment_is_used_when_asked_for(checkout, tmp_path):
    programs = shutil.move(checkout / ".venv" / "bin", tmp_path / "conda" / "bin")
    shutil.rmtree(checkout / ".venv")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done = make(checkout, "data", "CONDA=1", CONDA_PREFIX=str(tmp_path / "conda"), PATH=path)
    assert done.stdout == "camlib data [][]\n", done.stderr
    assert not (checkout / ".venv").exists()
    assert "no conda environment is active" in make(checkout, "data", "CONDA=1").stderr


def test_clean_says_what_it_removes_and_how_much(checkout, tmp_path):
    for name in ("cache", "checkpoints", "raw"):
        (tmp_path / "my cache" / name).mkdir(parents=True)
        (tmp_path / "my cache" / name / "file").write_bytes(bytes(300_000))
    (checkout / "reports" / "mini").mkdir(parents=True)
    (checkout / "reports" / "README.md").touch()
    lines = make(checkout, "clean", CAMLIB_CACHE=str(tmp_path / "my cache")).stdout.splitlines()
    assert [line.split("\t")[1] for line in lines] == [
        f"{tmp_path}/my cache/cache", f"{tmp_path}/my cache/checkpoints", "reports/mini/",
    ]  # fmt: skip
    assert lines[0].startswith(("removed: 29", "removed: 30"))
    assert [path.name for path in (tmp_path / "my cache").iterdir()] == ["raw"]
    assert [path.name for path in (checkout / "reports").iterdir()] == ["README.md"]


def git(folder, *arguments):
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_run_in_jupyter_is_no_change_for_git_and_kept_outputs_are(checkout):
    (checkout / ".venv" / "bin" / "nbstripout").unlink()
    (checkout / ".venv" / "bin" / "nbstripout").symlink_to(Path(sys.executable).parent / "nbstripout")
    path = make_notebook(checkout / "notebooks" / "01_x.ipynb", "print(seed)\nplot()")
    notebook = nbformat.read(path, 4)
    notebook.cells.append(nbformat.v4.new_code_cell("2", metadata={"tags": ["keep_output"]}))
    notebook.cells[-1].outputs = [new_output("execute_result", {"text/plain": "2"})]
    git(checkout, "init", "-q")
    assert make(checkout, "git-filter").returncode == 0
    nbformat.write(notebook, path)
    git(checkout, "add", "notebooks", ".gitattributes")
    git(checkout, "commit", "-qm", "m")
    for i, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.execution_count = 7 + i
        cell.metadata |= {"editable": True, "slideshow": {"slide_type": ""}, "execution": {"iopub.status.busy": "t"}}
    notebook.cells[2].outputs = [new_output("stream", text="0\n"), new_output("display_data", {"image/png": "aGk="})]
    notebook.metadata |= {"language_info": {"name": "python"}, "widgets": {}}
    nbformat.write(notebook, path)
    refresh_index({"type": "notebook"}, str(path), contents_manager=None)  # as JupyterLab does after saving
    assert git(checkout, "status", "--porcelain", "notebooks") == ""
    notebook.cells[-1].outputs[0].data["text/plain"] = "3"
    nbformat.write(notebook, path)
    refresh_index({"type": "notebook"}, str(path))
    assert git(checkout, "status", "--porcelain", "notebooks") == " M notebooks/01_x.ipynb\n"
    (checkout / ".venv" / "bin" / "nbstripout").unlink()
    assert "image/png" in git(checkout, "diff", "notebooks"), "without the program git takes all, and works"


def test_the_notebooks_are_as_git_keeps_them(tmp_path):
    """`make git-filter`, then `git add --renormalize notebooks`, puts them right, but for the name of the kernel."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    git(tmp_path, "init", "-q")
    assert make(tmp_path, "git-filter").returncode == 0
    clean = git(tmp_path, "config", "--get", "filter.notebooks.clean").strip()
    strip = clean.partition("then ")[2].partition("; else")[0]  # once for all: it takes its time to start
    subprocess.run(f"{strip} notebooks/*.ipynb", cwd=tmp_path, shell=True, check=True)
    for path in sorted((tmp_path / "notebooks").glob("*.ipynb")):
        kernel = json.loads(path.read_text())["metadata"]["kernelspec"]
        assert kernel == {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}, path.name
        assert json.loads(path.read_text()) == json.loads((ROOT / "notebooks" / path.name).read_text()), path.name
