"""An executed notebook's cells as parts of a page: prose, folded code, figures, tables, printed lines.

Outputs are data: of each kind the page takes text and pictures, and writes the markup itself.
"""

import base64
import html
import io
import re
from typing import Any, NamedTuple

from nbconvert.filters.markdown import markdown2html
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from camlib.report.grids import read_grids

LINES = 8  # printed lines that a page shows at once
FRONT = "front-page"  # tag of the cell whose pictures the front page takes
CHECKED = "nbval-check-output"  # what such a cell prints is for nbval to compare
NUMBERS = "The paper's numbers"  # the section where it is for the reader too


class Part(NamedTuple):
    """What a page shows in one piece."""

    kind: str  # prose, heading, code, strip (pictures that carry their own words), figure, table, lines
    content: Any  # safe HTML of prose; text of a heading; dicts of code, pictures, tables; texts


class Section(NamedTuple):
    """A heading of the second level and what stands under it."""

    title: str
    anchor: str
    parts: list[Part]

    @property
    def is_bare(self) -> bool:
        """Whether nothing but folded code stands here."""
        return all(part.kind == "code" for part in self.parts)


def arrange_cells(notebook: Any) -> tuple[str, list[Section]]:
    """The title (the heading of the first level, "" without one) and the sections; the first has no heading."""
    title, sections = "", [Section("", "start", [])]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for level, heading, text in _split_headings(cell.source):
                if level == 1 and not title:
                    title = heading
                elif level == 2:
                    sections.append(Section(heading, _make_anchor(heading, sections), []))
                elif heading:
                    sections[-1].parts.append(Part("heading", heading))
                if text.strip():
                    sections[-1].parts.append(Part("prose", _render_prose(text)))
        elif cell.cell_type == "code" and cell.source.strip():
            _add_code(cell, sections[-1])
    return title, sections


def front_pictures(notebook: Any) -> list[dict[str, Any]]:
    """The pictures of the cells tagged for the front page, as a page shows them."""
    cells = [cell for cell in notebook.cells if FRONT in cell.metadata.get("tags", [])]
    outputs = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    return [_show_picture(output, "") for output in outputs]


def read_title(cells: list[dict[str, Any]]) -> str:
    """The heading of the first level of a notebook's cells, or ""."""
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return next((source.split("\n")[0][2:].strip() for source in sources if source.startswith("# ")), "")


# -------------------------------------------------------------------------------------------------------- text


def _split_headings(source: str) -> list[tuple[int, str, str]]:
    """Level, heading and the text below each; (0, "", text) for what stands before the first."""
    before, *rest = re.split(r"^(#{1,4}) +(.+)$", source, flags=re.MULTILINE)
    marked = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
    return [(0, "", before), *((len(marks), heading.strip(), text) for marks, heading, text in marked)]


def _make_anchor(heading: str, sections: list[Section]) -> str:
    anchor = re.sub(r"[^a-z0-9]+", "-", heading.replace("'", "").lower()).strip("-") or "section"
    taken = {section.anchor for section in sections}
    return anchor if anchor not in taken else f"{anchor}-{len(sections)}"


def _render_prose(text: str) -> str:
    """Markdown as HTML; the page's policy stops scripts and requests, and this what would lead the reader elsewhere."""
    return re.sub(r"<(?=/?(meta|base|script|style|iframe)\b)", "&lt;", markdown2html(text), flags=re.IGNORECASE)


def _first_sentence(parts: list[Part]) -> str:
    """Of the prose that stands before a figure, as text: what it shows."""
    prose = next((part.content for part in reversed(parts) if part.kind == "prose"), "")
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", "", prose)).split())
    return re.split(r"(?<=[.:])\s", text)[0]


# ----------------------------------------------------------------------------------------------- code and outputs


def _add_code(cell: Any, section: Section) -> None:
    """The code joins the fold before it, if nothing stands between; what it gave follows."""
    tags, parts = cell.metadata.get("tags", []), section.parts
    if not (parts and parts[-1].kind == "code"):
        parts.append(Part("code", []))
    source = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
    folded: list[str] = []
    parts[-1].content.append({"source": source, "printed": folded, "settings": "parameters" in tags})
    pictures: list[dict[str, Any]] = []
    for output in cell.get("outputs", []):
        data, checked = output.get("data", {}), CHECKED in tags and section.title != NUMBERS
        if output.output_type == "error":
            parts.append(Part("lines", [f"{output.ename}: {output.evalue}"]))
        elif output.output_type == "stream":
            lines = [line.strip() for line in output.text.splitlines() if line.strip()]
            if output.name != "stderr" and lines:  # progress bars are for the terminal
                folded.append(output.text) if checked else parts.append(Part("lines", lines))
        elif "image/png" in data:
            pictures.append(_show_picture(output, _first_sentence(parts)))
        elif grids := read_grids(str(data.get("text/html", ""))):
            told = _first_sentence(parts)
            parts += [Part("table", {"grid": grid, "caption": told or section.title}) for grid in grids]
        else:  # a value as Python writes it, or a kind that a page does not show
            folded.append(str(data.get("text/plain", f"not shown here: {', '.join(data)}")))
    strip = [picture for picture in pictures if picture["named"]]
    parts += [Part("strip", strip)] * bool(strip)
    parts += [Part("figure", picture) for picture in pictures if not picture["named"]]


def _show_picture(output: Any, fallback: str) -> dict[str, Any]:
    """A picture as WebP (a page is a third as large), its size on the page in px, what it shows in words."""
    with Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) as picture:
        kept, width, height = encode_picture(picture), *picture.size
    metadata = output.get("metadata", {})
    told = metadata | metadata.get("image/png", {})
    plain = str(output.data.get("text/plain", ""))
    own = "" if plain.startswith("<") else plain
    words = told.get("alt") or " ".join(filter(None, [fallback, own])) or "A figure"
    return {
        "source": kept,
        "width": told.get("width", width),
        "height": told.get("height", height),
        "aspect": round(width / height, 3),
        "words": words,
        "named": "alt" in told,
    }


def encode_picture(picture: Image.Image, widest: int = 2200) -> str:
    """A picture as an address that holds it: WebP, at most `widest` px wide."""
    picture = picture.convert("RGBA" if picture.mode == "RGBA" else "RGB")
    if picture.width > widest:
        picture = picture.resize((widest, round(picture.height * widest / picture.width)), Image.Resampling.LANCZOS)
    kept = io.BytesIO()
    picture.save(kept, "WEBP", quality=86, method=2)
    return "data:image/webp;base64," + base64.b64encode(kept.getvalue()).decode()
