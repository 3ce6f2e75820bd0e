"""Images with maps and boxes over them: galleries, a dataset's images, methods side by side."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image as DisplayedImage
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image as PilImage, ImageDraw

from camlib.cam import normalize_maps
from camlib.datasets.base import Dataset
from camlib.viz.style import (
    MAP_COLOURS,
    NARROWEST,
    PALETTE,
    WIDTH,
    add_legend,
    check_lengths,
    check_names,
    set_title,
    wrap_text,
)

Image = NDArray[np.uint8]
TRUE_COLOUR, PREDICTED_COLOUR = PALETTE[0], PALETTE[1]  # blue, orange
TRUE_LABEL, PREDICTED_LABEL = "true box", "predicted box"


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
    check_lengths(len(images), {"heatmaps": heatmaps, "predicted": predicted, "true": true, "titles": titles})
    columns = max(min(columns, len(images)), 1)
    fig, axes = _picture_axes(images, columns, min(WIDTH / columns, 2.2), title)
    for i, (image, ax) in enumerate(zip(images, axes.flat, strict=False)):
        _show(ax, image, None if heatmaps is None else heatmaps[i], None if titles is None else titles[i])
        draw_boxes(ax, None if true is None else true[i], TRUE_COLOUR, labels[1])
        draw_boxes(ax, None if predicted is None else predicted[i], PREDICTED_COLOUR, labels[0], "--")
    add_legend(fig, maps=heatmaps is not None)
    return fig


def plot_dataset(
    dataset: Dataset,
    indices: Sequence[int] | np.ndarray,
    heatmaps: Sequence[ArrayLike] | None = None,
    predicted: Sequence[ArrayLike | None] | None = None,
    titles: Sequence[str] | None = None,
    **options: Any,
) -> Figure:
    """A gallery of some images of a dataset, with their true boxes; titles are by default their labels.

    heatmaps, predicted, titles: one per index, as in `plot_gallery`, which takes the other options.
    """
    true = [dataset.boxes[i] for i in indices] if any(len(dataset.boxes[i]) for i in indices) else None
    options = {"true": true} | options
    labels = [shorten(dataset.class_names[dataset.labels[i]]) for i in indices]
    pictures = [np.asarray(dataset[i]) for i in indices]
    return plot_gallery(pictures, heatmaps, predicted, titles=labels if titles is None else titles, **options)


def shorten(name: str) -> str:
    """The first of a class's names: "tench, Tinca tinca" -> "tench"."""
    return name.partition(",")[0]


def plot_side_by_side(
    images: Sequence[Image],
    heatmaps_by_name: Mapping[str, Sequence[ArrayLike]],
    boxes_by_name: Mapping[str, Sequence[ArrayLike | None]] | None = None,
    true: Sequence[ArrayLike | None] | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
) -> Figure:
    """One row per image: the picture, then a column per name with its map and predicted boxes; true boxes on all.

    heatmaps_by_name: e.g. {"GAP": maps, "GMP": maps}, for each image a map (H, W) of its size; boxes (n, 4) or (4,).
    Raises ValueError for no images, lists of another length, or boxes under a name that has no maps.
    """
    boxes_by_name = boxes_by_name or {}
    check_names("boxes_by_name", boxes_by_name, heatmaps_by_name)
    check_lengths(len(images), {"true": true, "titles": titles})
    check_lengths(len(images), {f"maps of {name}": maps for name, maps in heatmaps_by_name.items()})
    check_lengths(len(images), {f"boxes of {name}": boxes for name, boxes in boxes_by_name.items()})
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
    add_legend(fig, maps=True)
    return fig


def stack_map(image: Image, heatmap: ArrayLike, boxes: ArrayLike, words: str) -> DisplayedImage:
    """A picture (H, W, 3) uint8 above itself with its map (H, W) and boxes (n, 4) or (4,), at its own size.

    words: what a page writes below it, and what stands for it where it can't be seen.
    """
    lower = PilImage.fromarray(overlay_map(image, heatmap))
    line = max(min(lower.size) // 100, 2)  # px
    for x0, y0, x1, y1 in np.atleast_2d(np.asarray(boxes, dtype=np.float64)).tolist():
        ImageDraw.Draw(lower).rectangle((x0, y0, x1 - 1, y1 - 1), outline="white", width=line)
    both = PilImage.new("RGBA", (lower.width, 2 * lower.height + 2 * line))
    both.paste(PilImage.fromarray(image), (0, 0))
    both.paste(lower, (0, lower.height + 2 * line))
    kept = io.BytesIO()
    both.save(kept, "PNG")
    return DisplayedImage(data=kept.getvalue(), format="png", alt=words)


def _picture_axes(images: Sequence[Image], columns: int, cell: float, title: str) -> tuple[Figure, NDArray[Any]]:
    """A figure with a bare pair of axes for each image, in rows of `columns`; cells are `cell` inches wide."""
    if not len(images):
        raise ValueError("no images to show; expected at least one")
    aspects = [np.shape(image)[0] / np.shape(image)[1] for image in images]
    # A row is as tall as its tallest picture, within limits: a wide one leaves room for its title.
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
    set_title(fig, title)
    return fig, axes


def _show(ax: Axes, image: Image, heatmap: ArrayLike | None, title: str | None) -> None:
    ax.imshow(image if heatmap is None else overlay_map(image, heatmap))
    ax.grid(False)
    if title:
        inches = 1.2 * ax.bbox.width / ax.figure.dpi  # the layout is still to narrow the gaps between columns
        ax.set_title(wrap_text(title, inches, 8), fontsize=8, parse_math=False)
