"""Executed notebooks and results files as pages that open with the network off."""

import io
from collections import Counter
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from PIL import Image
from pygments.formatters import HtmlFormatter

from camlib.datasets import REGISTRY
from camlib.report.cells import arrange_cells, encode_picture, front_pictures, read_title
from camlib.report.claims import CLAIMS
from camlib.report.grids import make_grid
from camlib.report.plan import SUMMARY, find_notebooks, read_planned
from camlib.report.provenance import find_unregistered
from camlib.report.records import parse_record, read_results
from camlib.report.settings import read_cells
from camlib.report.tables import arrange_values, list_runs
from camlib.report.verdicts import (
    COLUMNS,
    Verdict,
    describe_estimate,
    describe_prediction,
    describe_primary,
    judge_claims,
    judge_numbers,
)
from camlib.store import write_aside

# No script runs on a page and no request leaves it, whatever a notebook's outputs hold; its own style is inline.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SPAN = 80.0  # points on either side of 0 that the front page draws
WORDS = ("holds", "opposite", "not seen", "inconclusive", "not run")  # of verdicts, in the order that they are counted
CARD = 1100  # px that a card's picture is wide at most
BUNDLED = "bundled-photos"  # of the quickstart, whose pictures open the front page


def _pages(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".params.yml") for path in folder.glob("*.params.yml"))


def _list_pages(folder: Path) -> list[dict[str, str]]:
    """Name, title and short title of each notebook's page, in their order."""
    pages = []
    for name in _pages(folder):
        paths = [folder / f"{name}.ipynb", *filter(None, [find_notebooks().get(name)])]
        title = next((read_title(read_cells(path)) for path in paths if path.exists()), "") or name
        pages.append({"name": name, "title": title, "short": title.partition(":")[0].partition(",")[0]})
    return pages


def _write_page(template: str, path: Path, **context: Any) -> None:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("camlib.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    context |= {"policy": POLICY, "version": version("camlib"), "pages": _list_pages(path.parent)}
    with write_aside(path) as aside:
        aside.write_text(environment.get_template(template).render(context), encoding="utf-8")


def render_notebook(executed: Path) -> None:
    """Turn an executed notebook into one HTML page beside it that opens with the network off, code folded away."""
    profile = read_planned(executed.with_suffix(".params.yml")).profile
    read_cells(executed)  # says what is wrong with a file that is no notebook
    notebook = nbformat.read(executed, as_version=4)
    title, sections = arrange_cells(notebook)
    results = executed.with_suffix(".json")
    context = {
        "title": title or executed.stem,
        "sections": sections,
        "here": executed.stem,
        "profile": profile,
        "ran": _read_date(notebook),
        "record": parse_record(results.read_text(encoding="utf-8")) if results.exists() else None,
        "files": [f"{executed.stem}.{suffix}" for suffix in ("ipynb", "params.yml")]
        + [results.name] * results.exists(),
        "highlight": _style_code(),
    }
    _write_page("page.html.j2", executed.with_suffix(".html"), **context)


def write_index(folder: Path) -> list[str]:
    """Write FOLDER/index.html, what the report says of each claim, and FOLDER/numbers.html, its numbers.

    Returns the results files that are left out because no plan of their notebook is there.
    Raises FileNotFoundError for a folder without a plan, ValueError for a results file that is not whole.
    """
    if not _pages(folder):
        raise FileNotFoundError(f"{folder} holds no *.params.yml; expected a report's folder, see `camlib plan`")
    every = read_results(folder)
    records = [record for record in every if record["notebook"] in _pages(folder)]
    summary = folder / f"{SUMMARY}.params.yml"
    not_run = read_planned(summary).not_run if summary.exists() else []
    claims = _list_claims(judge_claims(records, not_run))
    context = {
        "profile": folder.resolve().name,
        "claims": claims,
        "columns": list(COLUMNS.values()),
        "tally": {column: Counter(claim[column]["word"] for claim in claims) for column in COLUMNS.values()},
        "words": WORDS,
        "strip": _read_front(folder, "00_quickstart"),
        "data": _name_data(records),
        "licences": {
            name: REGISTRY[name].licence for name in [BUNDLED, *_name_data(records)[False]] if name in REGISTRY
        },
        "not_run": not_run,
        "unregistered": {r["title"]: why for r in records if r["claims"] and (why := find_unregistered(r))},
        "cards": [_make_card(folder, record, about) for record, about in zip(records, list_runs(records), strict=True)],
        "runs": {key: sorted({record[key] for record in records}) for key in ("git_commit", "device")},
        "ran": max((_read_date(_read_notebook(folder, name)) for name in _pages(folder)), default=""),
    }
    _write_page("index.html.j2", folder / "index.html", here="index", **context)
    _write_numbers(folder, records)
    return [f"{record['notebook']}.json" for record in every if record not in records]


def _write_numbers(folder: Path, records: list[dict[str, Any]]) -> None:
    numbers = judge_numbers(records)
    measured = []
    for record in records:
        table = arrange_values(record["values"])
        rows = [[str(name), *map(str, row)] for name, row in zip(table.index, table.values, strict=True)]
        measured.append((record, make_grid(["", *map(str, table.columns)], 1, rows) if rows else None))
    choices = {key: Counter(row[key] for row in numbers) for key in ("table", "status")}
    context = {"numbers": numbers, "choices": choices, "measured": measured, "profile": folder.resolve().name}
    _write_page("numbers.html.j2", folder / "numbers.html", here="numbers", **context)


def _list_claims(verdicts: dict[str, dict[bool, Verdict]]) -> list[dict[str, Any]]:
    """A row per claim, in the paper's order, those that something here decides first."""
    rows: list[dict[str, Any]] = []
    for key, both in verdicts.items():
        claim = CLAIMS[key]
        row: dict[str, Any] = {
            "key": key,
            "text": claim.text,
            "section": claim.section,
            "notebook": claim.notebook,
            "seen": claim.seen,
        }
        row |= {"predicted": describe_prediction(claim), "run": any(found.word != "not run" for found in both.values())}
        for synthetic, column in COLUMNS.items():
            found = both[synthetic]
            row[column] = {"word": found.word, "estimate": describe_estimate(found), "told": describe_primary(found)}
            undecided = found.why or "neither shown, after correction for all claims"
            row[column]["why"] = undecided if found.word == "inconclusive" else ""
            row[column]["bar"] = place_bar(*found.primary["interval"]) if found.primary else None
        rows.append(row)
    return sorted(rows, key=lambda row: not row["run"])


def place_bar(low: float, high: float) -> tuple[float, float]:
    """Where an interval in points lies on a line from -SPAN to SPAN: (left, width) in %; the rest is cut off."""
    left, right = (50 + 50 * min(max(end, -SPAN), SPAN) / SPAN for end in (low, high))
    return round(min(left, 98), 1), round(max(right - left, 2), 1)


def _make_card(folder: Path, record: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """What the front page says of an experiment; its picture is the notebook's own choice, else its figure."""
    pictures = _read_front(folder, record["notebook"])
    figure = folder / f"{record['notebook']}.png"
    if not pictures and figure.exists():
        with Image.open(io.BytesIO(figure.read_bytes())) as picture:
            words = f"The measured values of {record['title']} with their intervals"
            pictures = [{"source": encode_picture(picture, CARD), "words": words}]
    return record | {
        "profile": read_planned(folder / f"{record['notebook']}.params.yml").profile,
        "not_run": read_planned(folder / f"{record['notebook']}.params.yml").not_run,
        "picture": pictures[-1] if pictures else None,
        "kinds": sorted({data["synthetic"] for data in record["datasets"]}),
        "data": about["data"].replace(" (synthetic)", ""),
        "said": record["headline"].split("\n")[0],
    }


def _name_data(records: list[dict[str, Any]]) -> dict[bool, dict[str, int]]:
    """Drawn or not -> name of each dataset -> how many of its images were measured, at most."""
    named: dict[bool, dict[str, int]] = {True: {}, False: {}}
    for data in (data for record in records for data in record["datasets"]):
        kind = named[data["synthetic"]]
        kind[data["name"]] = max(kind.get(data["name"], 0), data["n"])
    return named


def _read_notebook(folder: Path, name: str) -> Any:
    """The executed notebook, or one without cells where it is not kept."""
    path = folder / f"{name}.ipynb"
    return nbformat.read(path, as_version=4) if path.exists() else nbformat.v4.new_notebook()


def _read_front(folder: Path, name: str) -> list[dict[str, Any]]:
    return front_pictures(_read_notebook(folder, name))


def _read_date(notebook: Any) -> str:
    """When papermill ran it, as "2026-11-27 09:57 UTC"; "" for one that it did not."""
    ended = notebook.metadata.get("papermill", {}).get("end_time")
    return datetime.fromisoformat(ended).strftime("%Y-%m-%d %H:%M UTC") if ended else ""


@cache
def _style_code() -> str:
    """Colours of code, for light and for dark."""
    light, dark = (HtmlFormatter(style=name).get_style_defs(".source") for name in ("default", "github-dark"))
    return f"{light} @media screen and (prefers-color-scheme: dark) {{ {dark} }}"
