"""Curves and intervals: over thresholds, beside the paper's numbers, of groups, of learning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from camlib.viz.style import LINE_STYLES, MARKERS, PALETTE, WIDTH, add_legend, check_lengths, check_names, set_title

if TYPE_CHECKING:
    from camlib.stats import SeedComparison


def plot_threshold_curves(
    thresholds: ArrayLike,
    curves: Mapping[str, ArrayLike],
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    marks: Mapping[str, float] | None = None,
    ylabel: str = "localization accuracy, %",
    title: str = "",
) -> Figure:
    """Curves (T,) over box thresholds (T,), the thresholds as fractions of the map's maximum; both axes are in %.

    curves and bands (low, high): fractions, each (T,). marks: thresholds to point out, as {"paper's 20 %": 0.2}.
    Raises ValueError for a curve or band of another length or not within 0..1, or a band under no curve's name.
    """
    x = 100 * np.asarray(thresholds, dtype=np.float64)  # (T,)
    bands = bands or {}
    check_names("bands", bands, curves)
    drawn = {f"curve of {name}": curve for name, curve in curves.items()}
    drawn |= {f"band of {n} ({e})": b for n, band in bands.items() for e, b in zip(("low", "high"), band, strict=True)}
    check_lengths(len(x), drawn)
    for name, values in drawn.items():
        if not (np.abs(np.asarray(values) - 0.5) <= 0.5 + 1e-9).all():  # NaN fails too
            raise ValueError(f"{name} leaves 0..1; expected fractions, not %")
    fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for i, (name, curve) in enumerate(curves.items()):
        colour = PALETTE[i % len(PALETTE)]
        ax.plot(x, 100 * np.asarray(curve), color=colour, linestyle=LINE_STYLES[i % 4], linewidth=1.8, label=name)
        if name in bands:
            low, high = (100 * np.asarray(end) for end in bands[name])
            ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    for i, (name, threshold) in enumerate((marks or {}).items()):
        ax.axvline(100 * threshold, color="0.4", linestyle=LINE_STYLES[3 - i % 4], linewidth=1.2, label=name)
    ax.set(xlabel="box threshold, % of the map's maximum", ylabel=ylabel)
    ax.margins(x=0)
    set_title(fig, title)
    sns.despine(fig)
    add_legend(fig)
    return fig


def plot_against_paper(rows: Sequence[Mapping[str, Any]], xlabel: str = "%", title: str = "") -> Figure:
    """Measured values with their intervals beside the paper's, a line each, the first on top.

    rows: dicts with
        label, measured; low and high: its 95 % interval, or None;
        paper: the published number, or None; comparable: whether it can be compared, else it is drawn hollow;
        synthetic: whether the value comes from synthetic data, which the legend then says; such points are hollow.
    """
    if not rows:
        raise ValueError("no rows to show; expected at least one")
    fig, ax = plt.subplots(figsize=(7, 1.4 + 0.32 * len(rows)), layout="constrained")
    for y, row in enumerate(rows):
        if row["paper"] is not None:  # the largest mark, and behind: a measured value right on it must not hide it
            face, kind = (PALETTE[1], "paper") if row["comparable"] else ("white", "paper (not comparable)")
            edge = "0.2" if row["comparable"] else PALETTE[1]
            ax.plot(row["paper"], y, "D", markerfacecolor=face, markeredgecolor=edge, markersize=9, label=kind)
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y, y], color=PALETTE[0], linewidth=2, label="95 % interval")
        face, kind = ("white", "measured (synthetic data)") if row["synthetic"] else (PALETTE[0], "measured")
        ax.plot(row["measured"], y, "o", color=PALETTE[0], markerfacecolor=face, markersize=5.5, label=kind)
    ax.set_yticks(range(len(rows)), [row["label"] for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    set_title(fig, title)
    sns.despine(fig)
    add_legend(fig)
    return fig


def plot_groups(groups: pd.DataFrame, xlabel: str, title: str = "", synthetic: bool = False) -> Figure:
    """Estimates of groups with their intervals, the first row on top.

    groups: columns name, n, estimate, low, high, as `experiments.controls.rank_groups` gives them.
    """
    rows = [
        {"label": f"{g.name} ({g.n})", "measured": g.estimate, "low": g.low, "high": g.high, "paper": None}
        for g in groups.itertuples(index=False)
    ]
    return plot_against_paper([row | {"synthetic": synthetic} for row in rows], xlabel, title)


def plot_dial(
    values: Sequence[float],
    curves: Mapping[str, Sequence["SeedComparison"]],
    xlabel: str,
    ylabel: str = "difference, points",
    title: str = "",
) -> Figure:
    """The difference of two methods over the values (V,) of a dial, with its 95 % interval and a small mark per seed.

    curves: name -> V comparisons, in points. Raises ValueError for a curve of another length.
    """
    check_lengths(len(values), curves)
    step = 0.08 * (min(np.diff(sorted(values)), default=1.0))
    fig, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for i, (name, rows) in enumerate(curves.items()):
        colour, x = PALETTE[i % len(PALETTE)], np.asarray(values, np.float64) + step * (i - (len(curves) - 1) / 2)
        middle = np.array([row.effect.estimate for row in rows])
        low, high = np.array([row.effect.interval() for row in rows]).reshape(-1, 2).T
        style: dict[str, Any] = {
            "color": colour,
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": LINE_STYLES[i % 4],
            "capsize": 3,
        }
        ax.errorbar(x, middle, (middle - low, high - middle), label=f"{name} (95 % interval)", **style)
        for place, row in zip(x, rows, strict=True):
            ax.plot(
                [place] * len(row.seed_differences), row.seed_differences, ".", color=colour, alpha=0.5, markersize=4
            )
    ax.axhline(0, color="0.4", linewidth=1)
    ax.set(xlabel=xlabel, ylabel=ylabel, xticks=list(values))
    set_title(fig, title)
    sns.despine(fig)
    add_legend(fig)
    return fig


def plot_learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], title: str = "") -> Figure | None:
    """Losses (training and validation) and validation accuracy over the epochs, one colour and marker per network.

    histories: as `camlib.train` returns them, one dict per epoch with `epoch`, `train_loss`, `val_loss`, `val_top1`
    (%). A network without a history was not trained here and is left out; if all are, nothing is drawn.
    """
    histories = {name: history for name, history in histories.items() if history}
    if not histories:
        return None
    fig, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), layout="constrained")
    for i, (name, history) in enumerate(histories.items()):
        epochs = [row["epoch"] for row in history]
        for ax, key, kind, line in (
            (left, "train_loss", "training", "-"),
            (left, "val_loss", "validation", "--"),
            (right, "val_top1", "validation", "--"),
        ):
            marker = MARKERS[i % len(MARKERS)]
            values = [row[key] for row in history]
            ax.plot(epochs, values, line, color=PALETTE[i % 10], marker=marker, markersize=4, label=f"{name}, {kind}")
    left.set(xlabel="epoch", ylabel="cross-entropy loss")
    right.set(xlabel="epoch", ylabel="top-1 accuracy, %")
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    set_title(fig, title)
    sns.despine(fig)
    add_legend(fig)
    return fig
