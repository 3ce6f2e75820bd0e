"""docs/example: pages that a code host shows; figures as files; nothing large, nothing of this machine."""

import base64
import io
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from camlib.report import example

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "docs" / "example"


def test_prose_code_lines_tables_and_figures_become_markdown(tmp_path, monkeypatch):
    monkeypatch.setattr(example, "SHOWN", ("01_x",))
    with pytest.raises(FileNotFoundError, match=r"01_x\.ipynb is missing; `make example`"):
        example.write_example(tmp_path, tmp_path / "docs")
    drawn = io.BytesIO()
    Image.new("RGB", (3000, 1000), "red").save(drawn, "png")
    figure = {"image/png": base64.b64encode(drawn.getvalue()).decode(), "text/plain": "A [red] figure"}
    table = "<table><thead><tr><th></th><th>n</th></tr></thead><tbody><tr><th>a|b</th><td>3</td></tr></tbody></table>"
    outputs = [
        new_output("stream", name="stderr", text="a bar"),
        new_output("stream", name="stdout", text="two lines\n"),
        new_output("display_data", figure),
        new_output("execute_result", {"text/html": table, "text/plain": "a table"}),
    ]
    cells = [new_markdown_cell("# Title"), new_code_cell("1 + 1", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "01_x.ipynb")
    written = example.write_example(tmp_path, tmp_path / "docs")
    assert [path.name for path in written] == ["01_x-1.webp", "01_x.md"]
    text = written[1].read_text()
    assert text.startswith("# Title\n\n<details><summary>code</summary>\n\n```python\n1 + 1\n```")
    assert "```\ntwo lines\n```\n\n![A (red) figure](01_x-1.webp)\n\n|  | n |" in text
    assert "| a\\|b | 3 |" in text
    assert "a bar" not in text
    with Image.open(written[0]) as kept:
        assert kept.size == (1200, 400)


def test_the_kept_example_is_whole_and_small():
    pages = sorted(KEPT.glob("*.md"))
    assert {path.stem for path in pages} == {*example.SHOWN, "README"}
    files = {path.name: path.stat().st_size for path in KEPT.iterdir()}
    assert max(files.values()) < 1e6
    assert sum(files.values()) < 6e6
    asked = {name for page in pages for name in re.findall(r"\]\(([^):#]+\.(?:webp|md))\)", page.read_text())}
    assert {name for name in asked if not name.startswith("..")} == set(files) - {"README.md"}
    for page in pages:
        assert not re.search(r"(/root|/tmp|/home|/work)/", page.read_text()), page
