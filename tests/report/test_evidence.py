"""What is generated from kept runs: tables in step with them, the README's snippet, runs that are stale."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage
from PIL import Image

from camlib.report import evidence, pages, plan, provenance, verdicts
from camlib.report.claims import CLAIMS

ROOT = Path(__file__).resolve().parents[2]


def test_generated_texts_are_in_step_with_the_kept_results():
    """`make readme` writes them anew."""
    for path, text in evidence.generate_texts().items():
        assert path.read_text() == text, f"{path.name}: run `make readme`"


def test_every_claim_is_a_row_of_the_readme_with_its_verdict():
    readme = (ROOT / "README.md").read_text()
    for key, both in evidence.judge_kept(evidence.read_kept()).items():
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {CLAIMS[key].text} ")]
        assert all(f"**{found.word}**" in row for found in both.values())


def test_kept_claims_were_registered_before_their_runs():
    for run, records in evidence.read_kept().items():
        for record in records:
            why = provenance.find_unregistered(record) if record["claims"] else ""
            if "does not hold" in why:
                pytest.skip(f"{run}, {record['notebook']}: {why}")  # a copy without its history
            assert why == "", (run, record["notebook"])


def test_the_readme_is_short_and_names_the_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert {"make reproduce", "make test"} <= {line.partition("#")[0].strip() for line in lines}
    assert all((ROOT / name).exists() for name in re.findall(r"\]\(([\w/.-]+)", "\n".join(lines)))


def test_the_snippet_of_the_readme_goes_from_a_file_to_an_overlay(tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    shutil.copy(Path(skimage.__file__).parent / "data" / "chelsea.png", tmp_path)
    command = [sys.executable, "-W", "error", "-c", snippet]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1].startswith("(300, 451) ")
    with Image.open(tmp_path / "cam" / "chelsea_cam.png") as overlay, Image.open(tmp_path / "chelsea.png") as photo:
        assert overlay.size == photo.size


def test_the_readmes_example_of_data_names_what_a_dataset_has():
    text = (ROOT / "data" / "README.md").read_text()
    assert {"boxes", "labels", "class_names"} <= set(re.findall(r"ds\.(\w+)", text))


@pytest.fixture
def kept(project):
    """A project whose docs/results holds one run of its one notebook."""
    folder = project / "docs" / "results" / "mini"
    folder.mkdir(parents=True)
    value = {
        "name": "error", "model": "GAP", "value": 50.0, "unit": "%", "n": 9, "interval": [40.0, 60.0],
        "interval_kind": "bootstrap over images", "paper": None, "dataset": "d", "synthetic": True, "subset": False,
    }  # fmt: skip
    data = {"name": "d", "split": "val", "n": 9, "classes": 3, "source": "drawn", "synthetic": True, "whole": None}
    registered = verdicts.registration(CLAIMS["bias_zero"])
    claim = {
        "claim": "bias_zero", "registered": registered, "estimate": 0.1, "interval": [-0.2, 0.4], "unit": "points",
        "p": 0.001, "p_other": 1.0, "n": 9, "seeds": 1, "dataset": "d", "synthetic": True,
        "subset": False, "models": ["", ""],
    }  # fmt: skip
    record = {
        "schema": 3, "claims": [claim], "claims_commit": "1" * 40, "claims_changed": False,
        "notebook": "01_x", "title": "T", "claim": "C | D", "headline": "H", "verdict": "V",
        "values": [value], "datasets": [data], "networks": {}, "settings": {"model": "resnet50"},
        "seed": 0, "device": "CPU", "wall_seconds": 1.0,
        "comparisons": [], "git_commit": "0" * 40,
    }  # fmt: skip
    (folder / "01_x.json").write_text(json.dumps(record))
    texts = plan.format_plans("mini", plan.choose_settings("mini"))
    (folder / "01_x.params.yml").write_text(texts["01_x"])
    return folder


def test_tables_show_claim_data_and_measurement(kept):
    runs = evidence.read_kept()
    (row,) = [line for line in evidence.claims_table(runs).splitlines() if CLAIMS["bias_zero"].text in line]
    measured = "+0.1 points [-0.2, +0.4], p of equal within 2 = 0.001, 9 images, d, resnet50"
    assert row.endswith(f"| **holds**: [{measured}](docs/results.md#mini-01_x) |")
    assert "**not run**: this report has no photographs for it" in row
    assert "50.0 [40.0, 60.0]" in evidence.results_page(runs)


def test_a_run_is_stale_when_its_notebook_or_settings_change(kept):
    assert evidence.list_stale() == {"mini": []}
    path = kept / "01_x.params.yml"
    path.write_text(path.read_text().replace("profile: mini", "profile: tiny"))
    assert evidence.list_stale() == {"mini": ["01_x"]}


def test_parts_are_filled_between_their_marks():
    text = "a\n<!-- t -->\nold\n<!-- end of t -->\nb\n"
    assert evidence.fill_parts(text, {"t": "new \\1"}) == "a\n<!-- t -->\nnew \\1\n<!-- end of t -->\nb\n"
    with pytest.raises(ValueError, match="no marks <!-- u -->"):
        evidence.fill_parts(text, {"u": ""})


def test_no_temporary_copy_of_a_text_is_left(kept, project):
    (project / "README.md").write_text(
        "<!-- does it hold -->\n<!-- end of does it hold -->\n<!-- profiles -->\n<!-- end of profiles -->\n"
    )
    (project / "data").mkdir()
    (project / "data" / "README.md").write_text(
        "<!-- layouts -->\n<!-- end of layouts -->\n<!-- sources -->\n<!-- end of sources -->\n"
    )
    evidence.write_texts()
    assert "| `mini` | drawn data | minutes |" in (project / "README.md").read_text()
    assert "| `svt` |" in (project / "data" / "README.md").read_text()
    names = subprocess.run(["ls", "-A", project / "data"], capture_output=True, text=True, check=True).stdout.split()
    assert names == ["README.md"]


def test_the_front_page_opens_with_the_claims(kept):
    """The files of a kept run are those that a report's folder holds."""
    pages.write_index(kept)
    page = (kept / "index.html").read_text()
    assert page.index(CLAIMS["bias_zero"].text) < page.index('id="01_x"'), "claims first"
    assert '<span class="word holds">holds</span> <span class="estimate">+0.1 points' in page
    assert "Not registered before the run: T: this checkout does not hold" in page
    numbers = (kept / "numbers.html").read_text()
    assert '50.0 <span class="interval">[40.0, 60.0]</span>' in numbers
    assert page.count('class="tag synthetic"') == 2
