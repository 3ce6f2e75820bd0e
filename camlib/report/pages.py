"""Executed notebooks and results files as pages that open with the network off."""

import base64
import re
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from camlib.report.plan import SUMMARY, read_planned
from camlib.report.provenance import find_unregistered
from camlib.report.records import read_results
from camlib.report.settings import read_cells
from camlib.report.tables import SHOWN, arrange_values, list_runs
from camlib.report.verdicts import COLUMNS, judge_claims, list_primaries
from camlib.store import write_aside

# No script runs on a page and no request leaves it, whatever a notebook's outputs hold; its own style is inline.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _pages(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".params.yml") for path in folder.glob("*.params.yml"))


def _write_page(template: str, path: Path, **context: Any) -> None:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("camlib.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    with write_aside(path) as aside:
        aside.write_text(environment.get_template(template).render(policy=POLICY, **context), encoding="utf-8")


def render_notebook(executed: Path) -> None:
    """Turn an executed notebook into one HTML page beside it that opens with the network off, code folded away."""
    profile = read_planned(executed.with_suffix(".params.yml")).profile
    read_cells(executed)  # says what is wrong with a file that is no notebook
    notebook = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:  # progress bars are for the terminal; injected parameters stay, they say what ran
        cell["outputs"] = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
    body, _ = HTMLExporter(template_name="basic", anchor_link_text="").from_notebook_node(notebook)

    # Nothing in an output may act: the page's policy stops scripts and requests, and this leading the reader elsewhere.
    body = re.sub(r"<(?=meta\b|base\b)", "&lt;", body, flags=re.IGNORECASE)
    highlight = HtmlFormatter(style="default").get_style_defs(".highlight")
    context = {"body": body, "pages": _pages(executed.parent), "here": executed.stem, "highlight": highlight}
    _write_page("page.html.j2", executed.with_suffix(".html"), profile=profile, **context)


def write_index(folder: Path) -> list[str]:
    """Write FOLDER/index.html: every claim with the paper's number beside the measured one, and a picture each.

    Returns the results files that are left out because no plan of their notebook is there.
    Raises FileNotFoundError for a folder without a plan, ValueError for a results file that is not whole.
    """
    if not _pages(folder):
        raise FileNotFoundError(f"{folder} holds no *.params.yml; expected a report's folder, see `camlib plan`")
    planned_names, entries = _pages(folder), []
    every = read_results(folder)
    records = [record for record in every if record["notebook"] in planned_names]
    for record, about in zip(records, list_runs(records), strict=True):
        picture = folder / f"{record['notebook']}.png"
        planned, table = read_planned(folder / f"{record['notebook']}.params.yml"), arrange_values(record["values"])
        entries.append(
            record
            | {
                "profile": planned.profile,
                "not_run": planned.not_run,
                "picture": base64.b64encode(picture.read_bytes()).decode() if picture.exists() else None,
                "table": table.to_html(border=0),
                "long": len(table) > SHOWN,
                "synthetic": all(data["synthetic"] for data in record["datasets"]),
                "data": about["data"].replace(" (synthetic)", ""),
            }
        )
    summary = folder / f"{SUMMARY}.params.yml"
    not_run = read_planned(summary).not_run if summary.exists() else []
    context = {"entries": entries, "pages": _pages(folder), "profile": folder.resolve().name, "not_run": not_run}
    context |= {"claims": list_primaries(judge_claims(records, not_run)), "columns": list(COLUMNS.values())}
    context["unregistered"] = {r["title"]: why for r in records if r["claims"] and (why := find_unregistered(r))}
    _write_page("index.html.j2", folder / "index.html", **context)
    return [f"{record['notebook']}.json" for record in every if record not in records]
