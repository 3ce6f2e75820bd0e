"""A network over a whole dataset: files in, classes, maps and boxes out; one forward pass, resumable."""

from camlib.evaluate.forward import (
    Output as Output,
    forward_batches as forward_batches,
)
from camlib.evaluate.released import (
    ReleasedLocalization as ReleasedLocalization,
    guess_five as guess_five,
    localize_released as localize_released,
    predict_released_maps as predict_released_maps,
    predict_ten_crop as predict_ten_crop,
)
from camlib.evaluate.single import (
    Localization as Localization,
    MapMeasures as MapMeasures,
    iterate_maps as iterate_maps,
    localize as localize,
    measure_maps as measure_maps,
    predict_maps as predict_maps,
    wrong_over_thresholds as wrong_over_thresholds,
)
