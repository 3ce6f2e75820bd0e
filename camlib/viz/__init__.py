"""Figures: pictures with maps and boxes over them, curves and intervals."""

from camlib.viz.charts import (
    plot_against_paper as plot_against_paper,
    plot_dial as plot_dial,
    plot_groups as plot_groups,
    plot_learning_curves as plot_learning_curves,
    plot_threshold_curves as plot_threshold_curves,
)
from camlib.viz.pictures import (
    PREDICTED_COLOUR as PREDICTED_COLOUR,
    TRUE_COLOUR as TRUE_COLOUR,
    Image as Image,
    draw_boxes as draw_boxes,
    overlay_map as overlay_map,
    plot_dataset as plot_dataset,
    plot_gallery as plot_gallery,
    plot_side_by_side as plot_side_by_side,
    shorten as shorten,
    stack_map as stack_map,
)
from camlib.viz.style import (
    LINE_STYLES as LINE_STYLES,
    MAP_COLOURS as MAP_COLOURS,
    MAP_LABEL as MAP_LABEL,
    MARKERS as MARKERS,
    NARROWEST as NARROWEST,
    PALETTE as PALETTE,
    WIDTH as WIDTH,
    add_legend as add_legend,
    check_lengths as check_lengths,
    check_names as check_names,
    describe_figure as describe_figure,
    set_style as set_style,
    set_title as set_title,
    wrap_text as wrap_text,
)
