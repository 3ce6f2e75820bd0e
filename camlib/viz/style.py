"""What all figures share: colours told apart with any colour vision and never by colour alone, titles, legends."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.core.getipython import get_ipython
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch
from matplotlib_inline.backend_inline import set_matplotlib_formats

PALETTE: list[str] = sns.color_palette("colorblind").as_hex()
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 9.5  # inches: 1,045 px, the width of a report's page
NARROWEST = 4.8  # inches: the legend of a gallery fits
MAP_COLOURS = "inferno"  # perceptually uniform
MAP_LABEL = "heat map (bright = high)"


def set_style() -> None:
    """Theme of every figure, for a notebook's setup cell: colour-blind palette, small type, 110 dpi.

    In a notebook figures are twice as sharp as they are large, and say in words what they show.
    """
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    plt.rcParams.update({"figure.dpi": 110, "axes.grid": True, "grid.alpha": 0.4, "legend.frameon": False})
    if (shell := get_ipython()) is not None and shell.display_formatter is not None:
        set_matplotlib_formats("retina")
        plain = shell.display_formatter.formatters["text/plain"]
        plain.for_type(Figure, lambda fig, printer, cycle: printer.text(describe_figure(fig)))


def describe_figure(fig: Figure) -> str:
    """What a figure shows, in words: its title, its panels, its axes and its lines, as far as they are named."""
    parts = {
        "": [fig.get_suptitle()],
        "Panels: ": [ax.get_title() for ax in fig.axes],
        "Axes: ": [f"{ax.get_ylabel() or 'rows'} against {ax.get_xlabel()}" for ax in fig.axes if ax.get_xlabel()],
        "Shown: ": [text for ax in fig.axes for text in ax.get_legend_handles_labels()[1]],
    }
    named = {key: dict.fromkeys(" ".join(text.split()) for text in texts if text) for key, texts in parts.items()}
    return ". ".join(key + "; ".join(texts) for key, texts in named.items() if texts) or "A figure"


def check_names(what: str, named: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """ValueError if a name has no counterpart: what it names would be dropped silently."""
    if unknown := set(named) - set(known):
        raise ValueError(f"{what} names {sorted(unknown)}; expected some of {list(known)}")


def check_lengths(expected: int, lists: Mapping[str, Any]) -> None:
    """ValueError naming the first of the lists (None: not given) that does not have the expected length."""
    for name, values in lists.items():
        if values is not None and len(values) != expected:
            raise ValueError(f"{name}: {len(values)} entries; expected {expected}")


def wrap_text(text: str, inches: float, points: float) -> str:
    """Text in lines that fit: layouts make room for the height of a title, but never for its width."""
    return textwrap.fill(text, max(int(72 * inches / (0.6 * points)), 8))  # 0.6: width of a character, at most


def set_title(fig: Figure, title: str) -> None:
    """A title over the whole figure, if there is one."""
    if title:
        fig.suptitle(wrap_text(title, fig.get_figwidth(), 11), fontsize=11, parse_math=False)


def add_legend(fig: Figure, maps: bool = False) -> None:
    """One legend for the whole figure, below it, each label once; `maps`: with a word on the heat maps' colours."""
    scale = tuple(Patch(color=colormaps[MAP_COLOURS](level)) for level in np.linspace(0, 1, 12))
    handles: dict[str, Any] = {MAP_LABEL: scale} if maps else {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    widths = [0.55 + 0.058 * len(label) for label in handles]  # inches of an entry at 8 points
    columns = len(handles) if sum(widths) < fig.get_figwidth() else max(int(fig.get_figwidth() / max(widths)), 1)
    fig.set_figheight(fig.get_figheight() + 0.17 * (math.ceil(len(handles) / columns) - 1))
    fig.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
    )
