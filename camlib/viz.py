"""Pictures: overlays, galleries, curves. Colours are told apart with any colour vision, and never by colour alone."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from camlib.cam import normalize_maps

Image = NDArray[np.uint8]

PALETTE: list[str] = sns.color_palette("colorblind").as_hex()
TRUE_COLOUR, PREDICTED_COLOUR = PALETTE[0], PALETTE[1]  # blue, orange
TRUE_LABEL, PREDICTED_LABEL, MAP_LABEL = "true box", "predicted box", "heat map (bright = high)"
MAP_COLOURS = "inferno"  # perceptually uniform
LINE_STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 9.5  # inches: 1,045 px, the width of a report's page
NARROWEST = 4.8  # inches: the legend of a gallery fits


def set_style() -> None:
    """Theme of every figure, for a notebook's setup cell: colour-blind palette, small type, 110 dpi."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    plt.rcParams.update({"figure.dpi": 110, "axes.grid": True, "grid.alpha": 0.4, "legend.frameon": False})


def overlay_map(image: Image, heatmap: ArrayLike) -> Image:
    """A heat map over its picture: image (H, W, 3) uint8, heatmap (H, W) raw -> (H, W, 3) uint8.

    The map is divided by its maximum; negative values count as 0, and where there is no evidence at all the picture
    only gets darker. The stronger the map, the more of its colour covers the picture.
    Raises ValueError if the two differ in size, the image is not uint8 RGB or the map is not finite.
    """
    picture, heat = np.asarray(image), np.asarray(heatmap, dtype=np.float64)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"image is {picture.dtype} of shape {picture.shape}; expected uint8 (H, W, 3)")
    if heat.shape != picture.shape[:2]:
        raise ValueError(f"heat map has shape {heat.shape}; expected that of the image, {picture.shape[:2]}")
    heat = normalize_maps(heat, "max").clip(0)  # (H, W) in [0, 1]
    colours = 255 * colormaps[MAP_COLOURS](heat)[..., :3]  # (H, W, 3)
    opacity = (0.35 + 0.3 * heat)[..., None]
    return np.rint((1 - opacity) * picture + opacity * colours).astype(np.uint8)


def draw_boxes(ax: Axes, boxes: ArrayLike | None, colour: str, label: str, linestyle: str = "-") -> None:
    """Boxes (n, 4) or (4,), x0, y0, x1, y1 half-open in pixels, over a picture shown by `imshow`; None draws none.

    A solid box gets a white edge, any other a black one, so that it shows on bright and dark, and without colour.
    `label` stands for all of them in a legend. Raises ValueError for boxes of another shape.
    """
    corners = np.zeros((0, 4)) if boxes is None else np.atleast_2d(np.asarray(boxes, dtype=np.float64))
    if corners.size and (corners.ndim != 2 or corners.shape[1] != 4):
        raise ValueError(f"boxes have shape {corners.shape}; expected (n, 4) as x0, y0, x1, y1")
    edge = patheffects.withStroke(linewidth=3.4, foreground="white" if linestyle == "-" else "black")
    for i, (x0, y0, x1, y1) in enumerate(corners.reshape(-1, 4).tolist()):
        ax.add_patch(
            Rectangle(
                (x0 - 0.5, y0 - 0.5),  # imshow puts the centre of the first pixel at 0
                x1 - x0,
                y1 - y0,
                fill=False,
                edgecolor=colour,
                linewidth=1.6,
                linestyle=linestyle,
                label=label if i == 0 else None,
                path_effects=[edge],
                clip_on=False,  # a box at the border would lose half its line
            )
        )


def plot_gallery(
    images: Sequence[Image],
    heatmaps: Sequence[ArrayLike] | None = None,
    predicted: Sequence[ArrayLike | None] | None = None,
    true: Sequence[ArrayLike | None] | None = None,
    titles: Sequence[str] | None = None,
    columns: int = 6,
    title: str = "",
    labels: tuple[str, str] = (PREDICTED_LABEL, TRUE_LABEL),
) -> Figure:
    """Pictures (H, W, 3) uint8 of any sizes in rows of `columns`, with maps (H, W), boxes (n, 4), titles where given.

    One legend for the figure, below it; labels: what it calls the predicted and the true boxes.
    Raises ValueError for no images or for lists of another length.
    """
    _check_lengths(len(images), {"heatmaps": heatmaps, "predicted": predicted, "true": true, "titles": titles})
    columns = max(min(columns, len(images)), 1)
    fig, axes = _picture_axes(images, columns, min(WIDTH / columns, 2.2), title)
    for i, (image, ax) in enumerate(zip(images, axes.flat, strict=False)):
        _show(ax, image, None if heatmaps is None else heatmaps[i], None if titles is None else titles[i])
        draw_boxes(ax, None if true is None else true[i], TRUE_COLOUR, labels[1])
        draw_boxes(ax, None if predicted is None else predicted[i], PREDICTED_COLOUR, labels[0], "--")
    _legend(fig, maps=heatmaps is not None)
    return fig


def plot_side_by_side(
    images: Sequence[Image],
    heatmaps_by_name: Mapping[str, Sequence[ArrayLike]],
    boxes_by_name: Mapping[str, Sequence[ArrayLike | None]] | None = None,
    true: Sequence[ArrayLike | None] | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """A row an image: the picture, then a column for each name with its map and predicted boxes; true boxes on all.

    heatmaps_by_name: e.g. {"GAP": maps, "GMP": maps}, for each image a map (H, W) of its size; boxes (n, 4) or (4,).
    Raises ValueError for no images, lists of another length, or boxes under a name that has no maps.
    """
    boxes_by_name = boxes_by_name or {}
    _check_names("boxes_by_name", boxes_by_name, heatmaps_by_name)
    _check_lengths(len(images), {"true": true, "titles": titles})
    _check_lengths(len(images), {f"maps of {name}": maps for name, maps in heatmaps_by_name.items()})
    _check_lengths(len(images), {f"boxes of {name}": boxes for name, boxes in boxes_by_name.items()})
    columns = 1 + len(heatmaps_by_name)
    fig, axes = _picture_axes([image for image in images for _ in range(columns)], columns, 2.2, title)
    for i, image in enumerate(images):
        _show(axes[i, 0], image, None, None if titles is None else titles[i])
        for ax, (name, maps) in zip(axes[i, 1:], heatmaps_by_name.items(), strict=True):
            _show(ax, image, maps[i], name)
            if name in boxes_by_name:
                draw_boxes(ax, boxes_by_name[name][i], PREDICTED_COLOUR, PREDICTED_LABEL, "--")
        if true is not None:
            for ax in axes[i]:
                draw_boxes(ax, true[i], TRUE_COLOUR, TRUE_LABEL)
    _legend(fig, maps=True)
    return fig


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
    _check_names("bands", bands, curves)
    drawn = {f"curve of {name}": curve for name, curve in curves.items()}
    drawn |= {f"band of {n} ({e})": b for n, band in bands.items() for e, b in zip(("low", "high"), band, strict=True)}
    _check_lengths(len(x), drawn)
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
    _set_title(fig, title)
    sns.despine(fig)
    _legend(fig)
    return fig


def plot_against_paper(rows: Sequence[Mapping[str, Any]], xlabel: str = "%", title: str = "") -> Figure:
    """Measured values with their intervals beside the paper's, a line each, the first on top.

    rows: dicts with `label`, `measured`, `low` and `high` (95 % interval, or None), `paper` (or None), and `synthetic`:
    whether the measured value comes from synthetic data, which the legend then says; such points are hollow.
    """
    if not rows:
        raise ValueError("no rows to show; expected at least one")
    fig, ax = plt.subplots(figsize=(7, 1.4 + 0.32 * len(rows)), layout="constrained")
    for y, row in enumerate(rows):
        if row["paper"] is not None:  # the largest mark, and behind: a measured value right on it must not hide it
            ax.plot(row["paper"], y, "D", color=PALETTE[1], markeredgecolor="0.2", markersize=9, label="paper")
        if row["low"] is not None and row["high"] is not None:
            ax.plot([row["low"], row["high"]], [y, y], color=PALETTE[0], linewidth=2, label="95 % interval")
        face, kind = ("white", "measured (synthetic data)") if row["synthetic"] else (PALETTE[0], "measured")
        ax.plot(row["measured"], y, "o", color=PALETTE[0], markerfacecolor=face, markersize=5.5, label=kind)
    ax.set_yticks(range(len(rows)), [row["label"] for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    _set_title(fig, title)
    sns.despine(fig)
    _legend(fig)
    return fig


def plot_learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], title: str = "") -> Figure:
    """Losses (training and validation) and validation accuracy over the epochs, a colour and marker a network.

    histories: as `camlib.train` returns them, a dict an epoch with `epoch`, `train_loss`, `val_loss`, `val_top1` (%).
    """
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
    _set_title(fig, title)
    sns.despine(fig)
    _legend(fig)
    return fig


def _check_names(what: str, named: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """ValueError if something stands under a name that nothing else bears: it would be left out in silence."""
    if unknown := set(named) - set(known):
        raise ValueError(f"{what} names {sorted(unknown)}; expected some of {list(known)}")


def _check_lengths(expected: int, lists: Mapping[str, Any]) -> None:
    """ValueError naming the first of the lists (None: not given) that does not have the expected length."""
    for name, values in lists.items():
        if values is not None and len(values) != expected:
            raise ValueError(f"{name}: {len(values)} entries; expected {expected}")


def _picture_axes(images: Sequence[Image], columns: int, cell: float, title: str) -> tuple[Figure, NDArray[Any]]:
    """A figure with a bare pair of axes for each image, in rows of `columns`; cells are `cell` inches wide."""
    if not len(images):
        raise ValueError("no images to show; expected at least one")
    aspects = [np.shape(image)[0] / np.shape(image)[1] for image in images]
    # A row is as tall as its tallest picture, but a panorama leaves room for its title and a tower does not rule all.
    rows = [float(np.clip(max(aspects[i : i + columns]), 0.4, 1.4)) for i in range(0, len(images), columns)]
    fig, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(max(cell * columns, NARROWEST), cell * sum(rows) + 0.25 * len(rows) + (0.7 if title else 0.4)),
        height_ratios=rows,
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat:
        ax.set_axis_off()
    _set_title(fig, title)
    return fig, axes


def _show(ax: Axes, image: Image, heatmap: ArrayLike | None, title: str | None) -> None:
    ax.imshow(image if heatmap is None else overlay_map(image, heatmap))
    ax.grid(False)
    if title:
        inches = 1.2 * ax.bbox.width / ax.figure.dpi  # the layout is still to narrow the gaps between columns
        ax.set_title(_wrapped(title, inches, 8), fontsize=8, parse_math=False)


def _wrapped(text: str, inches: float, points: float) -> str:
    """Text in lines that fit: layouts make room for the height of a title, but never for its width."""
    return textwrap.fill(text, max(int(72 * inches / (0.6 * points)), 8))  # 0.6: width of a character, at most


def _set_title(fig: Figure, title: str) -> None:
    """A title over the whole figure, if there is one."""
    if title:
        fig.suptitle(_wrapped(title, fig.get_figwidth(), 11), fontsize=11, parse_math=False)


def _legend(fig: Figure, maps: bool = False) -> None:
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
