"""Maps and boxes against truth: errors, box accuracy over every threshold, extent, shares of regions."""

from camlib.boxes import component_tree_boxes as component_tree_boxes, threshold_boxes as threshold_boxes
from camlib.metrics.localization import (
    BoxAccuracy as BoxAccuracy,
    LocalizationErrors as LocalizationErrors,
    box_hits as box_hits,
    correct_boxes as correct_boxes,
    correct_over_thresholds as correct_over_thresholds,
    fit_centre_fraction as fit_centre_fraction,
    localization_errors as localization_errors,
    max_box_accuracy as max_box_accuracy,
    summarize_hits as summarize_hits,
    sweep_hits as sweep_hits,
)
from camlib.metrics.regions import (
    MapExtent as MapExtent,
    Mask as Mask,
    RegionShare as RegionShare,
    average_precision as average_precision,
    box_mask as box_mask,
    centre_map as centre_map,
    check_region as check_region,
    holds_point as holds_point,
    map_extent as map_extent,
    mask_box as mask_box,
    polygon_mask as polygon_mask,
    region_share as region_share,
)
from camlib.stats import bootstrap_interval as bootstrap_interval
