"""What a run measured: one JSON per experiment, with everything that is needed to read it."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from camlib.datasets.base import Dataset
from camlib.metrics import localization_errors
from camlib.report.claims import CLAIMS
from camlib.report.paper import NUMBERS, cite_number, lookup
from camlib.report.provenance import data_of, describe_dataset, describe_machine
from camlib.report.records import SCHEMA, parameters as parameters
from camlib.report.tables import SHOWN, as_plot_row, fold_table, pivot_values
from camlib.report.verdicts import describe_effect
from camlib.stats import (
    Comparison,
    Effect,
    SeedComparison,
    bootstrap_interval,
    compare,
    compare_seeds,
    wilson_interval,
)
from camlib.store import make_folder, write_aside

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from camlib.train import Network

Place = tuple[str, str, str]  # table, row, column of the paper


class Experiment:
    """What one notebook measured: values with their intervals, comparisons, and where they come from.

        exp = Experiment("02_gap_vs_gmp", parameters(globals()), report_dir)
        exp.uses(images)
        exp.add("top-1 localization error", wrong, model="GAP", paper=("Table 2", "GoogLeNet-GAP", "top-1"))
        exp.compare("GAP", right, "centre box", right_centre)
        exp.table()
        exp.write(title=..., claim=..., figure=figure)

    settings: all parameters, `seed` among them. values, comparisons, claims (their primaries): as in the JSON.
    """

    def __init__(self, notebook: str, settings: dict[str, Any], report_dir: str | Path) -> None:
        self.notebook, self.settings, self.report_dir = notebook, settings, make_folder(Path(report_dir))
        self.values: list[dict[str, Any]] = []
        self.comparisons: list[dict[str, Any]] = []
        self.claims: list[dict[str, Any]] = []
        self.datasets: list[Dataset] = []
        self.networks: dict[str, str] = {}
        self._others: dict[str, bool] = {}  # label of a network -> whether it is another than the paper's
        self._started = time.time()
        self._seed = int(settings.get("seed", 0))

    def uses(self, *data: Dataset) -> None:
        """Note the datasets; the values that follow are about the last of them."""
        noted = {d.fingerprint for d in self.datasets}
        self.datasets += [d for d in data if d.fingerprint not in noted]
        self._current = data[-1]

    def uses_networks(self, networks: Mapping[str, "Network"]) -> None:
        """Note where the weights of each network come from."""
        self.networks |= {label: network.source for label, network in networks.items()}
        self._others |= {label: not network.of_paper for label, network in networks.items()}

    def add(
        self,
        name: str,
        outcomes: ArrayLike,
        *,
        model: str = "",
        paper: Place | None = None,
        unit: str = "%",
    ) -> dict[str, Any]:
        """Add the mean of outcomes (N,), one per image, with its interval: Wilson's of a share, else bootstrap.

        outcomes: right or wrong, or fractions, where the unit is %; else numbers in the unit.
        """
        share = unit == "%" and bool(np.isin(outcomes, (0, 1)).all())
        scale, kind = (100 if unit == "%" else 1), "Wilson" if share else "bootstrap over images"
        found = wilson_interval(outcomes) if share else bootstrap_interval(outcomes, seed=self._seed)
        mean, low, high = (scale * v for v in found)
        n = len(np.asarray(outcomes))
        return self.add_number(name, mean, n=n, interval=(low, high), kind=kind, model=model, paper=paper, unit=unit)

    def add_number(
        self,
        name: str,
        value: float,
        *,
        n: int,
        interval: tuple[float, float] | None = None,
        kind: str = "bootstrap over images",
        model: str = "",
        paper: Place | None = None,
        unit: str = "%",
    ) -> dict[str, Any]:
        """Add a value as it is. n: how many images (or draws) stand behind it; kind: of the interval."""
        if n < 1:
            raise ValueError(f"{name}: n is {n}; a value needs at least one image behind it")
        if any((value["name"], value["model"]) == (name, model) for value in self.values):
            raise ValueError(f"{name}, {model}: a value of that name was added before")
        data = self._current
        own = [label for label in self._others if model == label or model.startswith(f"{label}, ")]
        other = self._others[max(own, key=len)] if own else any(self._others.values())
        self.values.append(
            {
                "name": name,
                "model": model,
                "value": float(value),
                "unit": unit,
                "n": int(n),
                "interval": None if interval is None else [float(interval[0]), float(interval[1])],
                "interval_kind": None if interval is None else kind,
                "paper": None if paper is None else cite_number(lookup(*paper), data, other),
                **data_of(data),
            }
        )
        return self.values[-1]

    def add_errors(
        self,
        model: str,
        classes: np.ndarray,
        boxes: np.ndarray,
        data: Dataset,
        paper_row: str = "",
        kinds: Sequence[str] = ("classification error", "localization error"),
    ) -> None:
        """Add top-1 and top-5 classification and localization error (or one of the kinds), beside Tables 1 and 2.

        classes (N, k), boxes (N, k, 4), best first. paper_row: the network of the tables to stand beside, or "".
        With fewer than five guesses per image the last k takes the place of 5, and is named so.
        """
        errors = localization_errors(classes, boxes, data.labels, data.boxes, excluded=data.excluded)
        tables = {
            "classification error": ("Table 1", errors.cls_wrong),
            "localization error": ("Table 2", errors.loc_wrong),
        }
        for kind in kinds:
            table, wrong = tables[kind]
            for k in dict.fromkeys((1, min(5, classes.shape[1]))):
                place = (table, paper_row, f"top-{k}")
                self.add(f"top-{k} {kind}", wrong[:, k - 1], model=model, paper=self.known(place))

    def compare(
        self,
        first: str,
        outcomes: ArrayLike,
        second: str,
        other: ArrayLike,
        what: str = "",
        words: tuple[str, str] = ("better", "worse"),
        claim: str = "",
    ) -> Comparison:
        """Compare two methods on the same images, and keep what their paired interval allows to say.

        claim: the registered claim whose primary endpoint this difference (first - second) is; "": exploratory.
        """
        found = compare(outcomes, other, words)
        if claim:
            self.decide(claim, found.effect, n=len(np.asarray(outcomes)), models=(first, second))
        self.comparisons.append(
            {
                "what": what,
                "first": first,
                "second": second,
                "verdict": found.verdict,
                "difference": found.difference,
                "unit": "points",
                "interval": [found.low, found.high],
                "n": len(np.asarray(outcomes)),
                "dataset": self._current.name,
                "synthetic": self._current.synthetic,
                "sentence": f"{what + ', ' if what else ''}{first} against {second}: {found.describe()}",
            }
        )
        return found

    def compare_seeds(
        self,
        name: str,
        outcomes: Mapping[str, ArrayLike],
        *,
        unit: str = "%",
        paper: Mapping[str, Place] | None = None,
        claim: str = "",
    ) -> SeedComparison:
        """Add two methods over paired seeds, outcomes {label: (S, N)} in the unit, and their difference.

        claim: as for `compare`.
        """
        (first, a), (second, b) = outcomes.items()
        found, (s, n) = compare_seeds(a, b), np.shape(a)
        kind = "t over seeds and images" if s > 1 else "t over images"
        rows = {first: found.methods[0], second: found.methods[1], f"{first} - {second}": found.effect}
        for label, effect in rows.items():
            shown = unit if label in outcomes or unit != "%" else "points"
            cited = (paper or {}).get(label)
            told = {"n": n, "interval": effect.interval(), "kind": kind, "model": label, "paper": cited, "unit": shown}
            self.add_number(name, effect.estimate, **told)
        if claim:
            self.decide(claim, found.effect, n=n, seeds=s, models=(first, second))
        return found

    def decide(
        self,
        claim: str,
        effect: Effect,
        *,
        n: int,
        seeds: int = 1,
        models: tuple[str, str] = ("", ""),
        p: float | None = None,
        test: str = "",
    ) -> None:
        """Keep a registered claim's primary endpoint: the effect, first - second, in the claim's unit.

        p: of a test other than t (two-sided), named in `test`. KeyError for an unregistered claim; ValueError for
        another notebook's claim or a second primary of the claim.
        """
        if CLAIMS[claim].notebook != self.notebook:
            raise ValueError(f"{claim}: registered for {CLAIMS[claim].notebook}, decided in {self.notebook}")
        if any((c["claim"], c["synthetic"]) == (claim, self._current.synthetic) for c in self.claims):
            raise ValueError(f"{claim}: has one primary endpoint, and it was decided before")
        test = test or ("t over seeds and images" if seeds > 1 else "paired t over images")
        about = {"n": n, "seeds": seeds, "models": list(models), "test": test, **data_of(self._current)}
        self.claims.append({"claim": claim, **describe_effect(CLAIMS[claim], effect, p), **about})

    def known(self, place: Place) -> Place | None:
        """The place, if the paper prints a number there."""
        return place if place in NUMBERS else None

    def choose(self, among: int | np.ndarray, count: int) -> np.ndarray:
        """Up to `count` of the indices 0..among-1, or of an array, drawn without replacement from the seed."""
        n = among if isinstance(among, int) else len(among)
        return np.random.default_rng(self._seed).choice(among, min(count, n), replace=False)

    def verdict(self, *whats: str, against: str = "") -> str:
        """What the comparisons say, a line each: those of the named measures, against one method; else all."""
        kept = [c for c in self.comparisons if not whats or c["what"] in whats]
        chosen = [c["sentence"] for c in kept if against in ("", c["second"])]
        return "\n".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in chosen)

    def table(self, names: Sequence[str] = (), rows: str = "model", shown: int = SHOWN) -> "pd.DataFrame | Any":
        """The values as a table: a row per model (or per name), a column per name (or model), the paper beside.

        names: of the values that it shows, by default all. More rows than `shown` are folded in a notebook.
        """
        chosen = [v for v in self.values if not names or v["name"] in names]
        return fold_table(pivot_values(chosen, rows), shown)

    def plot(self, names: Sequence[str] = (), xlabel: str = "%", title: str = "") -> "Figure":
        """The values with their intervals, beside the paper's."""
        from camlib.viz import plot_against_paper

        chosen = [v for v in self.values if (not names or v["name"] in names) and v["unit"] == "%"]
        return plot_against_paper([as_plot_row(v) for v in chosen], xlabel, title)

    def write(
        self, *, title: str, claim: str, headline: str, verdict: str = "", figure: "Figure | None" = None
    ) -> None:
        """Write `<report_dir>/<notebook>.json`, and `.png`, the experiment's one picture on the front page.

        claim: the paper's, in one sentence. headline: what was measured of it, in one or two.
        verdict: all of it; by default the sentences of all comparisons. A NaN among the values raises ValueError.
        """
        record = {
            "schema": SCHEMA,
            "notebook": self.notebook,
            "title": title,
            "claim": claim,
            "headline": headline,
            "verdict": verdict or self.verdict() or headline,
            "values": self.values,
            "comparisons": self.comparisons,
            "claims": self.claims,
            "datasets": [describe_dataset(data) for data in self.datasets],
            "networks": self.networks,
            "settings": self.settings,
            "seed": self.settings.get("seed"),
            **describe_machine(),
            "wall_seconds": round(time.time() - self._started, 1),
        }
        text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
        if figure is not None:
            with write_aside(self.report_dir / f"{self.notebook}.png") as aside:
                figure.savefig(aside, dpi=110, bbox_inches="tight")
        with write_aside(self.report_dir / f"{self.notebook}.json") as aside:
            aside.write_text(text, encoding="utf-8")
