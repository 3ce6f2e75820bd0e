"""The house itself: dependency lists in step, notebooks to the contract, nothing large or local committed."""

import ast
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from papermill import inspect_notebook

from camlib.report.plan import read_parameters

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def requirement_names(lines):
    return {re.split(r"[<>=!~ ;\[]", line, maxsplit=1)[0].lower().replace("_", "-") for line in lines}


def test_pyproject_environment_and_lock_name_the_same_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = requirement_names(project["dependencies"] + project["optional-dependencies"]["dev"])
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert requirement_names(next(d for d in conda if isinstance(d, dict))["pip"]) == wanted
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, flags=re.M))
    assert wanted <= pinned
    assert lock.count("--hash=sha256:") > len(pinned)
    assert "://" not in lock, "no registry's address"


PARSES_STRINGS = {"split", "startswith", "endswith", "removeprefix", "removesuffix", "replace"}


def check_cell(source: str, parameters: bool = False) -> list[str]:
    """What a code cell has that a notebook of prose has not."""
    lines, tree, faults = source.splitlines(), ast.parse(source), []
    if len(lines) > 10 and not parameters:
        faults.append(f"{len(lines)} lines")
    faults += [f"{len(line)} characters: {line}" for line in lines if len(line) > 100]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PARSES_STRINGS:
            faults.append(f"line {node.lineno} parses a string: .{node.attr}")
        if isinstance(node, ast.Import | ast.ImportFrom) and "re" in [name.name for name in node.names]:
            faults.append("imports re")
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "globals()":
            faults.append(f"line {node.lineno} asks globals() for a name")
        if isinstance(node, ast.ClassDef):
            faults.append(f"defines class {node.name}")
        if count_loops(node) > 2:
            faults.append(f"line {node.lineno}: a comprehension over more than two levels")
    return faults


def count_loops(node: ast.AST) -> int:
    """How many loops a comprehension holds, those of comprehensions inside it included; 0 for anything else."""
    kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    if not isinstance(node, kinds):
        return 0
    return sum(len(inner.generators) for inner in ast.walk(node) if isinstance(inner, kinds))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = 1\n" * 11, "11 lines"),
        (f"x = {'1' * 100}", "104 characters"),
        ("name.split(',')", "parses a string"),
        ("import re", "imports re"),
        ("x = globals()['seed']", "globals()"),
        ("class A: pass", "class A"),
        ("[[[x for x in y] for y in z] for z in w]", "more than two levels"),
        ("{a: [b for b in c for d in e] for f in g}", "more than two levels"),
    ],
)
def test_the_contract_of_cells_refuses(source, fault):
    assert any(fault in found for found in check_cell(source))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_keep_their_contract(path):
    notebook = json.loads(path.read_text())
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert len(code) <= 18
    tags = [tag for c in code for tag in c["metadata"].get("tags", [])]
    assert tags.count("parameters") == 1
    assert "nbval-check-output" in tags, "nbval would compare nothing"
    for cell in code:
        own = cell["metadata"].get("tags", [])
        assert check_cell("".join(cell["source"]), "parameters" in own) == []
        assert not any(o.get("output_type") == "error" for o in cell["outputs"])
        assert not any("image/png" in o.get("data", {}) for o in cell["outputs"]), "figures are stripped"
        if "nbval-check-output" in own:
            assert cell["outputs"], "a reference without output compares nothing"
    assert not {"papermill", "widgets"} & set(notebook["metadata"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_explained_and_papermill_reads_each(path):
    cells = json.loads(path.read_text())["cells"]
    (source,) = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    lines = source.splitlines()
    for node in ast.parse(source).body:
        own = lines[node.lineno - 1 : node.end_lineno]
        assert any(re.search(r"#\s*\w+", line) for line in own), f"no comment: {own[0]}"
    assert set(inspect_notebook(str(path))) == set(read_parameters(path))


def test_every_test_can_fail():
    """A test asserts, expects an error, or calls a function of its file that asserts."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
        text = {function.name: ast.unparse(function) for function in functions}
        checking = {name for name, body in text.items() if re.search(r"\bassert |\.raises\(|\.testing\.", body)}
        for name, body in text.items():
            called = set(re.findall(r"(\w+)\(", body)) - {name}
            assert not name.startswith("test_") or name in checking or called & checking, f"{path.name}: {name}"


def test_nothing_large_or_local_is_committed():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    for name in filter(None, files.split("\0")):
        path = ROOT / name
        if path.is_file():
            assert path.stat().st_size < 1_000_000, name
            assert str(ROOT) + "/" not in path.read_text(errors="replace"), f"{name} holds a path of this machine"


def test_make_runs_a_notebook_again_whose_results_were_deleted(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_x.ipynb").write_text("exp.write(")
    (tmp_path / "notebooks" / "02_y.ipynb").write_text("")  # it writes no results
    report = tmp_path / "reports" / "mini"
    order = ["camlib/report/pages.py", ".venv/.installed"]
    order += [f"reports/mini/{name}" for name in ("01_x.params.yml", "02_y.params.yml", "01_x.json", "01_x.png")]
    order += [f"reports/mini/{name}" for name in ("01_x.ipynb", "02_y.ipynb", "01_x.html", "02_y.html", "index.html")]
    for i, name in enumerate(order):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (2e9 + i, 2e9 + i))

    def list_runs():
        command = ["make", "--no-print-directory", "-n", "planned", "PROFILE=mini "]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return re.findall(r"camlib (run notebooks/\w+|render|index)", done.stdout)

    assert list_runs() == []
    for name in ("01_x.json", "01_x.png"):
        (report / name).unlink()
        assert list_runs() == ["run notebooks/01_x", "render", "index"]
        (report / name).touch()
    assert list_runs() == []
