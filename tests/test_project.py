"""The house itself: dependency lists in step, notebooks to the contract, nothing large or local committed."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_keep_their_contract(path):
    notebook = json.loads(path.read_text())
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert len(code) <= 15
    tags = [tag for c in code for tag in c["metadata"].get("tags", [])]
    assert tags.count("parameters") == 1
    assert "nbval-check-output" in tags, "nbval would compare nothing"
    for cell in code:
        source = "".join(cell["source"])
        assert source.count("\n") < 17, source
        assert not re.search(r"^\s*class ", source, flags=re.M), source
        assert not any(o.get("output_type") == "error" for o in cell["outputs"])
        assert not any("image/png" in o.get("data", {}) for o in cell["outputs"]), "figures are stripped"
        if "parameters" in cell["metadata"].get("tags", []):
            for line in source.splitlines():
                assert re.search(r"#\s*\w.*: ", line), f"each parameter has a trailing comment: {line}"
        if "nbval-check-output" in cell["metadata"].get("tags", []):
            assert cell["outputs"], "a reference without output compares nothing"
    assert "papermill" not in notebook["metadata"]


def test_nothing_large_or_local_is_committed():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    for name in filter(None, files.split("\0")):
        path = ROOT / name
        if path.is_file():
            assert path.stat().st_size < 1_000_000, name
            assert str(ROOT) + "/" not in path.read_text(errors="replace"), f"{name} holds a path of this machine"
