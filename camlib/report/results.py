"""What a run measured: one JSON per experiment, with where it came from; submission files."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from camlib.datasets import Dataset
from camlib.metrics import localization_errors
from camlib.report.paper import Number, format_number, lookup, table as table_numbers
from camlib.stats import bootstrap_interval
from camlib.store import PROJECT_ROOT, write_aside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PACKAGES = ("camlib", "torch", "torchvision", "numpy", "opencv-python-headless", "scikit-learn", "accelerate")


def measured(
    name: str,
    value: float,
    *,
    unit: str = "%",
    n: int,
    interval: tuple[float, float] | None = None,
    paper: Number | None = None,
    model: str = "",
) -> dict[str, Any]:
    """One measured value as the results file keeps it.

    value and interval (95 %) in `unit`; n: how many images (or draws) stand behind it; paper: the published number.
    """
    if n < 1:
        raise ValueError(f"{name}: n is {n}; a value needs at least one image behind it")
    return {
        "name": name,
        "model": model,
        "value": float(value),
        "unit": unit,
        "n": int(n),
        "interval": None if interval is None else [float(interval[0]), float(interval[1])],
        "paper": None if paper is None else _as_cited(paper),
    }


def _as_cited(number: Number) -> dict[str, Any]:
    where = {"table": number.table, "row": number.row, "column": number.column}
    return {"text": format_number(number), "value": number.value, **where}


def cite(table: str, row: str, column: str) -> dict[str, Any]:
    """A published number as a measured value's "paper" keeps it."""
    return _as_cited(lookup(table, row, column))


def format_measured(value: dict[str, Any], decimals: int = 1) -> str:
    """ "41.3 [38.0, 44.7]": the value with its 95 % interval, if it has one."""
    text = f"{value['value']:.{decimals}f}"
    if value["interval"] is not None:
        text += f" [{value['interval'][0]:.{decimals}f}, {value['interval'][1]:.{decimals}f}]"
    return text


def results_table(values: Sequence[dict[str, Any]], synthetic: bool) -> "pd.DataFrame":
    """Paper beside measured, a row a value; the column of measured values says when the data are synthetic."""
    import pandas as pd

    column = "measured (synthetic data)" if synthetic else "measured"
    rows = [
        {
            "what": v["name"],
            "network": v["model"],
            column: format_measured(v),
            "unit": v["unit"],
            "n": v["n"],
            "paper": "" if v["paper"] is None else v["paper"]["text"],
            "paper's row": "" if v["paper"] is None else f"{v['paper']['table']}, {v['paper']['row']}",
        }
        for v in values
    ]
    return pd.DataFrame(rows).set_index("what")


def write_results(
    report_dir: str | Path,
    notebook: str,
    *,
    title: str,
    claim: str,
    verdict: str,
    values: Sequence[dict[str, Any]],
    dataset: dict[str, Any],
    settings: dict[str, Any],
    started: float,
    figure: "Figure | None" = None,
) -> Path:
    """Write `<report_dir>/<notebook>.json` (and `.png`, the experiment's one picture on the front page).

    dataset: what `describe_dataset` gives. settings: the notebook's parameters, `seed` among them.
    started: time.time() when the notebook began. Returns the JSON's path. A NaN among the values raises ValueError.
    """
    import torch

    folder = Path(report_dir)
    record = {
        "notebook": notebook,
        "title": title,
        "claim": claim,
        "verdict": verdict,
        "values": list(values),
        "dataset": dataset,
        "settings": settings,
        "seed": settings.get("seed"),
        "git_commit": _git_commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        "wall_seconds": round(time.time() - started, 1),
    }
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    if figure is not None:
        with write_aside(folder / f"{notebook}.png") as aside:
            figure.savefig(aside, dpi=110, bbox_inches="tight")
    with write_aside(folder / f"{notebook}.json") as aside:
        aside.write_text(text, encoding="utf-8")
    return folder / f"{notebook}.json"


def read_results(report_dir: str | Path) -> list[dict[str, Any]]:
    """Every results file of a report, in the notebooks' order; a broken file raises ValueError with its path."""
    records = []
    for path in sorted(Path(report_dir).glob("[0-9]*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            record["notebook"], record["values"], record["dataset"]["synthetic"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a whole results file: {error!r}") from error
        records.append(record)
    return records


def share_value(name: str, shares: ArrayLike, model: str = "", seed: int = 0) -> dict[str, Any]:
    """Mean of fractions (N,), one an image, with its bootstrap interval, in %, as a results file keeps it."""
    mean, low, high = (100 * v for v in bootstrap_interval(shares, seed=seed))
    return measured(name, mean, n=len(np.asarray(shares)), interval=(low, high), model=model)


def error_values(
    label: str, classes: np.ndarray, boxes: np.ndarray, dataset: Dataset, *, paper_row: str | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Top-1 and top-5 classification and localization error in % with bootstrap intervals, beside Tables 1 and 2.

    classes (N, k), boxes (N, k, 4), best first. paper_row: the published network to stand beside, e.g. "GoogLeNet-GAP".
    With fewer than five guesses an image the last k takes the place of 5, and is named so.
    """
    errors = localization_errors(classes, boxes, dataset.labels, dataset.boxes, excluded=dataset.excluded)
    values = []
    for kind, table, wrong in (
        ("classification error", "Table 1", errors.cls_wrong),
        ("localization error", "Table 2", errors.loc_wrong),
    ):
        for k in (1, min(5, classes.shape[1])):
            estimate, low, high = (100 * v for v in bootstrap_interval(wrong[:, k - 1], seed=seed))
            published = [n for n in table_numbers(table) if (n.row, n.column) == (paper_row, f"top-{k}")]
            values.append(
                measured(
                    f"top-{k} {kind}",
                    estimate,
                    n=len(wrong),
                    interval=(low, high),
                    paper=published[0] if published else None,
                    model=label,
                )
            )
    return values


def describe_dataset(*parts: Any) -> dict[str, Any]:
    """What a results file says of the camlib.datasets.Dataset, or of the several, that a run measured."""
    return {
        "name": ", ".join(dict.fromkeys(d.name for d in parts)),
        "split": ", ".join(dict.fromkeys(d.split for d in parts)),
        "n": sum(len(d) for d in parts),
        "classes": sum(len(d.classes) for d in parts),
        "source": "; ".join(dict.fromkeys(d.source for d in parts)),
        "fingerprint": ", ".join(d.fingerprint for d in parts),
        "synthetic": all(d.synthetic for d in parts),
    }


def _git_commit() -> str:
    """Commit of the working tree, with "+changes" when files differ from it; "unknown" outside a checkout."""
    git = ["git", "-C", str(PROJECT_ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed.strip() else "")
