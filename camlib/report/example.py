"""docs/example: notebooks of a report as Markdown that a code host shows, their figures as files beside it."""

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image

from camlib.report.evidence import format_table
from camlib.report.grids import read_grids
from camlib.store import write_aside

SHOWN = ("00_quickstart", "02_gap_vs_gmp", "06_scene_objects")
WIDEST = 1200  # px of a figure
INJECTED = "injected-parameters"  # papermill's cell; its report_dir is a folder of the machine


def write_example(report: Path, folder: Path) -> list[Path]:
    """Write the executed notebooks SHOWN of a report as folder/<name>.md -> the files, figures among them.

    Raises FileNotFoundError for a notebook that did not run.
    """
    written = []
    for name in SHOWN:
        path = report / f"{name}.ipynb"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; `make example` runs what the example shows")
        figures = dict[str, bytes]()
        parts = [part for cell in nbformat.read(path, as_version=4).cells for part in _show_cell(cell, name, figures)]
        for file, content in (figures | {f"{name}.md": ("\n\n".join(parts) + "\n").encode()}).items():
            with write_aside(folder / file) as aside:
                aside.write_bytes(content)
            written.append(folder / file)
        for old in set(folder.glob(f"{name}-*.webp")) - set(written):
            old.unlink()
    return written


def _show_cell(cell: Any, name: str, figures: dict[str, bytes]) -> list[str]:
    """A cell as Markdown: prose as it is, code folded, then its outputs; its figures are added to `figures`."""
    if cell.cell_type == "markdown":
        return [cell.source]
    injected = INJECTED in cell.metadata.get("tags", [])
    lines = [line for line in cell.source.split("\n") if "report_dir" not in line or not injected]
    parts = ["<details><summary>code</summary>\n\n```python\n" + "\n".join(lines) + "\n```\n\n</details>"]
    for output in cell.get("outputs", []):
        data, printed = output.get("data", {}), output.get("text", "").strip()
        if output.get("name") == "stdout" and printed:
            parts.append(f"```\n{printed}\n```")
        elif "image/png" in data:
            file = f"{name}-{sum(name in figure for figure in figures) + 1}.webp"
            figures[file] = _encode(base64.b64decode(data["image/png"]))
            words = output.metadata.get("image/png", {}).get("alt") or data.get("text/plain", "")
            words = words.replace("\n", " ").replace("[", "(").replace("]", ")")
            parts.append(f"![{words}]({file})")
        elif "text/html" in data:
            for grid in read_grids(data["text/html"]):
                rows = [[" ".join(filter(None, cell)) for cell in row] for row in grid.rows]
                parts.append(format_table(grid.columns, rows))
    return parts


def _encode(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as picture:
        picture.thumbnail((WIDEST, 10 * WIDEST))
        kept = io.BytesIO()
        picture.convert("RGB").save(kept, "WEBP", quality=80)
    return kept.getvalue()
