"""Pictures: what is drawn where, legends, axis labels; colours that stay apart; nothing cut off or covered."""

import io

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: a machine without a screen

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from camlib import viz
from camlib.stats import compare_seeds


@pytest.fixture(autouse=True)
def _own_style():
    """The report's style, and afterwards the one from before, with no figure left open."""
    with mpl.rc_context():
        viz.set_style()
        yield
        plt.close("all")


def noise(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def legend_texts(fig) -> list[str]:
    assert len(fig.legends) == 1
    assert all(ax.get_legend() is None for ax in fig.axes)
    return [text.get_text() for text in fig.legends[0].get_texts()]


def check_layout(fig) -> None:
    """Title, legend and axes (with their labels) lie inside the figure, and the legend covers no axes."""
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()
    texts = [fig._suptitle] if fig._suptitle is not None else []
    boxes = [t.get_window_extent(renderer) for t in texts] + [ax.get_tightbbox(renderer) for ax in fig.axes]
    legends = [legend.get_window_extent(renderer) for legend in fig.legends]
    for box in boxes + legends:
        assert box.x0 >= -1
        assert box.y0 >= -1
        assert box.x1 <= fig.bbox.x1 + 1
        assert box.y1 <= fig.bbox.y1 + 1
    for legend in legends:
        for ax in fig.axes:
            assert legend.y1 <= ax.get_tightbbox(renderer).y0 + 1


def boxes_on(ax) -> list[tuple[tuple[float, float, float, float], str, str]]:
    """(corners in pixel edges, colour, line style) of what draw_boxes drew."""
    found = []
    for patch in ax.patches:
        assert isinstance(patch, Rectangle)
        x, y = patch.get_x() + 0.5, patch.get_y() + 0.5
        corners = (x, y, x + patch.get_width(), y + patch.get_height())
        found.append((corners, mpl.colors.to_hex(patch.get_edgecolor()), patch.get_linestyle()))
    return found


# --- overlay_map


def test_overlay_is_brightest_where_the_map_is():
    grey = np.full((20, 30, 3), 128, np.uint8)
    heat = np.full((20, 30), -3.0)
    heat[5:8, 10:20] = 7.0
    out = viz.overlay_map(grey, heat)
    assert out.shape == (20, 30, 3)
    assert out.dtype == np.uint8
    light = out.astype(int).sum(2)
    hot = light == light.max()
    assert np.array_equal(hot, heat == 7.0)
    assert light[~hot].max() < 3 * 128  # and the rest is darker than the picture was


def test_overlay_is_monotonic_in_the_map():
    ramp = np.linspace(0, 1, 256)[None].repeat(4, 0)
    light = viz.overlay_map(np.full((4, 256, 3), 90, np.uint8), ramp) @ np.array([0.2126, 0.7152, 0.0722])  # luminance
    assert (np.diff(light[0]) > -1).all()
    assert light[0, -1] > light[0, 0] + 80


def test_overlay_does_not_see_scale_or_negative_values():
    image, heat = noise(0), np.random.default_rng(1).normal(size=(40, 60))
    out = viz.overlay_map(image, heat)
    assert np.array_equal(out, viz.overlay_map(image, 1e-3 * heat))
    assert np.array_equal(out, viz.overlay_map(image, heat.clip(0)))
    assert not np.array_equal(out, viz.overlay_map(image, -heat))


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_overlay_of_no_evidence_is_flat(value):
    out = viz.overlay_map(np.full((8, 9, 3), 200, np.uint8), np.full((8, 9), value))
    assert (out == out[0, 0]).all()
    assert (out < 200).all()


def test_overlay_leaves_the_picture_alone_and_takes_8_bit_maps():
    image = noise(2)
    kept = image.copy()
    heat = np.random.default_rng(3).integers(0, 256, (40, 60), dtype=np.uint8)
    assert np.array_equal(viz.overlay_map(image, heat), viz.overlay_map(image, heat / 255))
    assert np.array_equal(image, kept)


@pytest.mark.parametrize(
    ("image", "heat", "message"),
    [
        (noise(0), np.zeros((60, 40)), "expected that of the image"),
        (noise(0).astype(float), np.zeros((40, 60)), "expected uint8"),
        (noise(0)[..., 0], np.zeros((40, 60)), "expected uint8"),
        (noise(0), np.full((40, 60), np.nan), "NaN"),
    ],
)
def test_overlay_refuses(image, heat, message):
    with pytest.raises(ValueError, match=message):
        viz.overlay_map(image, heat)


# --- boxes


def test_a_box_frames_exactly_its_pixels():
    # The middle of the drawn outline is the middle of the pixels image[2:6, 4:8], its sides run along their edges.
    fig = plt.figure(figsize=(1, 1), dpi=100)
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    ax.imshow(np.zeros((10, 10, 3), np.uint8))
    viz.draw_boxes(ax, [4, 2, 8, 6], "#ffffff", "box")
    fig.canvas.draw()
    drawn = np.asarray(fig.canvas.buffer_rgba())[..., 0] > 128  # (100, 100), ten screen pixels an image pixel
    ys, xs = np.nonzero(drawn)
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], [40, 20, 80, 60], atol=3)
    np.testing.assert_allclose([(xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2], [60, 40], atol=0.6)


def test_boxes_have_one_legend_entry_and_their_style():
    _, ax = plt.subplots()
    viz.draw_boxes(ax, [[0, 0, 5, 5], [1, 2, 3, 4]], viz.TRUE_COLOUR, "true")
    viz.draw_boxes(ax, np.array([2.0, 2, 4, 4]), viz.PREDICTED_COLOUR, "predicted", "--")
    viz.draw_boxes(ax, None, "red", "none")
    viz.draw_boxes(ax, np.zeros((0, 4)), "red", "empty")
    assert ax.get_legend_handles_labels()[1] == ["true", "predicted"]
    assert boxes_on(ax) == [
        ((0, 0, 5, 5), viz.TRUE_COLOUR, "-"),
        ((1, 2, 3, 4), viz.TRUE_COLOUR, "-"),
        ((2, 2, 4, 4), viz.PREDICTED_COLOUR, "--"),
    ]


@pytest.mark.parametrize("wrong", [[1, 2, 3], [[1, 2, 3, 4, 5]], np.zeros((1, 1, 4)), [1, 2, 3, 4, 5, 6, 7, 8]])
def test_boxes_of_another_shape_are_refused(wrong):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"expected \(n, 4\)"):
        viz.draw_boxes(ax, wrong, "red", "box")


def test_a_stacked_picture_stands_above_its_map_and_box():
    picture, heatmap = noise(0), np.linspace(0, 1, 40 * 60).reshape(40, 60)
    shown = viz.stack_map(picture, heatmap, [10, 5, 30, 25], "a noise")
    assert shown._repr_mimebundle_()[1]["image/png"]["alt"] == "a noise"
    pixels = np.asarray(Image.open(io.BytesIO(shown.data)))
    assert pixels.shape == (40 + 4 + 40, 60, 4)
    np.testing.assert_array_equal(pixels[:40, :, :3], picture)
    assert (pixels[40:44, :, 3] == 0).all(), "a gap that lets the page through"
    lower, overlay = pixels[44:, :, :3], viz.overlay_map(picture, heatmap)
    framed = np.zeros((40, 60), bool)
    framed[5:25, 10:30] = True
    framed[7:23, 12:28] = False
    assert (lower[framed] == 255).all()
    np.testing.assert_array_equal(lower[~framed], overlay[~framed])


def test_a_figure_says_in_words_what_it_shows():
    fig, axes = plt.subplots(1, 2)
    fig.suptitle("Two\npanels")
    axes[0].set(title="left", xlabel="epoch", ylabel="loss")
    axes[0].plot([1, 2], label="GAP")
    axes[1].plot([1, 2], label="GAP")
    assert viz.describe_figure(fig) == "Two panels. Panels: left. Axes: loss against epoch. Shown: GAP"
    assert viz.describe_figure(plt.figure()) == "A figure"


def test_colours_stay_apart():
    colours = np.array([mpl.colors.to_rgb(c) for c in viz.PALETTE])
    assert len(set(viz.PALETTE)) == len(viz.PALETTE) == 10
    assert viz.TRUE_COLOUR != viz.PREDICTED_COLOUR
    # Machado et al. (2009), deuteranopia and protanopia, full severity: the box colours keep their distance.
    for matrix in (
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    ):
        true, predicted = colours[:2] @ np.array(matrix).T
        assert np.linalg.norm(true - predicted) > 0.5
    light = mpl.colormaps[viz.MAP_COLOURS](np.linspace(0, 1, 256))[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()


# --- pictures in a grid


def test_gallery_of_pictures_of_many_sizes():
    sizes = [(40, 60), (90, 30), (64, 64), (30, 120), (50, 50), (20, 20), (33, 47)]
    images = [noise(i, *size) for i, size in enumerate(sizes)]
    maps = [np.random.default_rng(i).normal(size=size) for i, size in enumerate(sizes)]
    true = [np.array([[1, 2, 11, 12], [3, 3, 9, 9]])] * 7
    predicted = [np.array([2, 2, 15, 15])] * 6 + [None]
    titles = [f"a rather long class name, number $_{i}" for i in range(7)]
    fig = viz.plot_gallery(images, maps, predicted, true, titles, columns=4, title="Seven pictures")
    assert legend_texts(fig) == [viz.MAP_LABEL, "true box", "predicted box"]
    assert fig.get_suptitle() == "Seven pictures"
    assert [ax.get_title().replace("\n", " ") for ax in fig.axes[:7]] == titles
    assert np.array_equal(fig.axes[3].get_images()[0].get_array(), viz.overlay_map(images[3], maps[3]))
    assert [len(boxes_on(ax)) for ax in fig.axes] == [3] * 6 + [2, 0]
    assert {style for _, colour, style in boxes_on(fig.axes[0]) if colour == viz.PREDICTED_COLOUR} == {"--"}
    check_layout(fig)


@pytest.mark.parametrize("count", [1, 3, 6])
def test_gallery_with_nothing_but_pictures(count):
    fig = viz.plot_gallery([noise(i) for i in range(count)])
    assert len(fig.axes) == count
    assert fig.legends == []
    assert np.array_equal(fig.axes[0].get_images()[0].get_array(), noise(0))
    check_layout(fig)


def test_legend_of_one_picture_fits():
    fig = viz.plot_gallery(
        [noise(0)], [np.eye(40, 60)], [[1, 1, 9, 9]], [[2, 2, 9, 9]], ["x"], title="A title for one picture alone " * 3
    )
    assert len(legend_texts(fig)) == 3
    check_layout(fig)


def test_gallery_refuses():
    with pytest.raises(ValueError, match="no images"):
        viz.plot_gallery([])
    with pytest.raises(ValueError, match="predicted: 1 entries; expected 2"):
        viz.plot_gallery([noise(0), noise(1)], predicted=[[0, 0, 1, 1]])
    assert plt.get_fignums() == []


def test_side_by_side():
    images = [noise(i, 40 + 10 * i, 50) for i in range(3)]
    maps = {n: [np.random.default_rng(i).random(im.shape[:2]) for i, im in enumerate(images)] for n in ("GAP", "GMP")}
    boxes = {"GAP": [[1, 1, 20, 20]] * 3, "GMP": [[2, 2, 30, 30]] * 3}
    true = [np.array([[0, 0, 25, 25]])] * 3
    fig = viz.plot_side_by_side(images, maps, boxes, true, ["dog", "cat", "bird"], title="GAP and GMP")
    grid = np.array(fig.axes).reshape(3, 3)
    assert [[ax.get_title() for ax in row] for row in grid] == [[t, "GAP", "GMP"] for t in ("dog", "cat", "bird")]
    assert [corners for corners, *_ in boxes_on(grid[1, 2])] == [(2, 2, 30, 30), (0, 0, 25, 25)]
    assert [corners for corners, *_ in boxes_on(grid[1, 0])] == [(0, 0, 25, 25)]
    assert np.array_equal(grid[2, 0].get_images()[0].get_array(), images[2])
    assert np.array_equal(grid[2, 1].get_images()[0].get_array(), viz.overlay_map(images[2], maps["GAP"][2]))
    assert sorted(legend_texts(fig)) == sorted([viz.MAP_LABEL, "true box", "predicted box"])
    check_layout(fig)


def test_side_by_side_refuses():
    image, heat = noise(0), np.zeros((40, 60))
    with pytest.raises(ValueError, match="maps of GMP: 0 entries; expected 1"):
        viz.plot_side_by_side([image], {"GAP": [heat], "GMP": []})
    with pytest.raises(ValueError, match="'gap'"):
        viz.plot_side_by_side([image], {"GAP": [heat]}, {"gap": [[0, 0, 1, 1]]})
    with pytest.raises(ValueError, match="no images"):
        viz.plot_side_by_side([], {"GAP": []})


# --- curves


def test_threshold_curves():
    t = np.linspace(0, 0.95, 20)
    curves = {"GAP": 0.5 - 0.4 * t, "GMP": 0.4 - 0.3 * t}
    bands = {"GAP": (curves["GAP"] - 0.02, curves["GAP"] + 0.02)}
    fig = viz.plot_threshold_curves(t, curves, bands, {"paper's 20 %": 0.2, "held-out": 0.3}, title="Known class " * 9)
    (ax,) = fig.axes
    assert legend_texts(fig) == ["GAP", "GMP", "paper's 20 %", "held-out"]
    assert ax.get_xlabel() == "box threshold, % of the map's maximum"
    assert ax.get_ylabel() == "localization accuracy, %"
    np.testing.assert_allclose(ax.lines[1].get_data(), [100 * t, 40 - 30 * t])
    assert list(ax.lines[2].get_xdata()) == [20, 20]
    assert len({line.get_linestyle() for line in ax.lines[:2]}) == 2 == len({line.get_color() for line in ax.lines[:2]})
    assert ax.lines[2].get_linestyle() != ax.lines[3].get_linestyle()
    (band,) = ax.collections
    low, high = band.get_paths()[0].get_extents().get_points()[:, 1]
    np.testing.assert_allclose([low, high], [10, 52])
    check_layout(fig)


def test_many_long_names_leave_the_curves_their_room():
    t = np.linspace(0, 1, 5)
    fig = viz.plot_threshold_curves(t, {f"a network with quite a long name, seed {i}": t / (i + 1) for i in range(6)})
    check_layout(fig)
    assert fig.axes[0].get_window_extent().height > 2.4 * fig.dpi


def test_threshold_curves_refuse():
    t = np.linspace(0, 1, 5)
    with pytest.raises(ValueError, match="curve of GAP: 4 entries; expected 5"):
        viz.plot_threshold_curves(t, {"GAP": t[:4]})
    with pytest.raises(ValueError, match=r"band of GAP \(high\): 3 entries"):
        viz.plot_threshold_curves(t, {"GAP": t}, {"GAP": (t, t[:3])})
    with pytest.raises(ValueError, match="'GPA'"):
        viz.plot_threshold_curves(t, {"GAP": t}, {"GPA": (t, t)})
    for wrong in (100 * t, -t, np.full(5, np.nan)):
        with pytest.raises(ValueError, match=r"curve of GAP leaves .*; expected fractions"):
            viz.plot_threshold_curves(t, {"GAP": wrong})


def row(label="top-1", measured=54.0, low=51.0, high=57.0, paper=56.4, synthetic=True):
    return {
        "label": label,
        "measured": measured,
        "low": low,
        "high": high,
        "paper": paper,
        "comparable": True,
        "synthetic": synthetic,
    }


def test_against_paper():
    fig = viz.plot_against_paper(
        [row(), row("baseline", 99.0, None, None, None)], "localization error, %", "Beside the paper"
    )
    (ax,) = fig.axes
    assert legend_texts(fig) == ["paper", "95 % interval", "measured (synthetic data)"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["top-1", "baseline"]
    assert ax.get_xlabel() == "localization error, %"
    points = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0], line.get_marker()) for line in ax.lines[:3]}
    assert points == {
        "paper": (56.4, 0, "D"),
        "95 % interval": (51.0, 0, "None"),
        "measured (synthetic data)": (54.0, 0, "o"),
    }
    assert list(ax.lines[1].get_xdata()) == [51.0, 57.0]
    assert len(ax.lines) == 4
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top
    check_layout(fig)


def test_real_and_synthetic_values_are_told_apart():
    fig = viz.plot_against_paper([row(synthetic=False), row("other", synthetic=True)])
    assert {"measured", "measured (synthetic data)"} <= set(legend_texts(fig))
    real = viz.plot_against_paper([row(synthetic=False)])
    assert "synthetic" not in " ".join(legend_texts(real))
    faces = [line.get_markerfacecolor() for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert faces[0] != faces[1]


def test_against_paper_refuses_nothing():
    with pytest.raises(ValueError, match="no rows"):
        viz.plot_against_paper([])


def test_a_dial_shows_each_difference_with_its_interval_and_every_seed():
    rng = np.random.default_rng(0)
    rows = [compare_seeds(*rng.normal(mean, 1, (2, 5, 40))) for mean in (0, 1)]
    fig = viz.plot_dial([1, 3], {"at 20 %": rows, "chosen": rows[::-1]}, "telling parts", title="GAP - GMP")
    (ax,) = fig.axes
    assert legend_texts(fig) == ["at 20 % (95 % interval)", "chosen (95 % interval)"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("telling parts", "difference, points")
    middles = [container.lines[0] for container in ax.containers]
    np.testing.assert_allclose(middles[0].get_ydata(), [row.effect.estimate for row in rows])
    ends = np.array([segment[:, 1] for segment in ax.containers[0].lines[2][0].get_segments()])
    np.testing.assert_allclose(ends, [row.effect.interval() for row in rows])
    dots = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 5]
    np.testing.assert_allclose(dots[0], rows[0].seed_differences)
    assert middles[0].get_linestyle() != middles[1].get_linestyle()
    check_layout(fig)
    with pytest.raises(ValueError, match="at 20 %: 2 entries; expected 3"):
        viz.plot_dial([1, 2, 3], {"at 20 %": rows}, "telling parts")


def test_learning_curves():
    def history(rate):
        return [
            {"epoch": e, "train_loss": rate / e, "val_loss": rate / e + 0.1, "val_top1": 90.0 - rate / e}
            for e in (1, 2, 3)
        ]

    fig = viz.plot_learning_curves({"GAP": history(2.0), "GMP": history(3.0)}, "Training")
    assert legend_texts(fig) == ["GAP, training", "GAP, validation", "GMP, training", "GMP, validation"]
    left, right = fig.axes
    assert [ax.get_xlabel() for ax in fig.axes] == ["epoch", "epoch"]
    assert left.get_ylabel() == "cross-entropy loss"
    assert right.get_ylabel() == "top-1 accuracy, %"
    np.testing.assert_allclose(left.lines[2].get_data(), [[1, 2, 3], [3, 1.5, 1]])
    np.testing.assert_allclose(right.lines[0].get_ydata(), [88, 89, 90 - 2 / 3])
    assert all(float(tick).is_integer() for tick in right.get_xticks())
    check_layout(fig)


def test_one_epoch_is_a_curve_too():
    fig = viz.plot_learning_curves({"GAP": [{"epoch": 1, "train_loss": 2.0, "val_loss": 2.1, "val_top1": 20.0}]})
    check_layout(fig)


def test_real_photographs(shared_data, tmp_path):
    """Photographs of many shapes under real heat maps: nothing cut off, no warning, a picture on disk."""
    files = sorted(shared_data("imagenet-samples").glob("*.JPEG"))[:8]
    heat_files = sorted(shared_data("release-boxes").glob("*.png"))
    images, maps = [], []
    for file, heat_file in zip(files, heat_files, strict=False):
        image = Image.open(file).convert("RGB")
        images.append(np.asarray(image))
        maps.append(np.asarray(Image.open(heat_file).resize(image.size)))
    fig = viz.plot_gallery(images, maps, titles=[f.stem for f in files], title="Photographs")
    check_layout(fig)
    fig.savefig(tmp_path / "gallery.png", dpi=110, bbox_inches="tight")
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.width <= viz.WIDTH * 110 + 40
