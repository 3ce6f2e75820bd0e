"""A network over a whole dataset: files in, classes, maps and boxes out; one forward pass, resumable."""

from camlib.evaluate.forward import (
    Output as Output,
    forward_batches as forward_batches,
)
from camlib.evaluate.released import (
    RELEASED_WAY as RELEASED_WAY,
    WAYS as WAYS,
    ReleasedLocalization as ReleasedLocalization,
    Way as Way,
    guess_five as guess_five,
    localize_released as localize_released,
    localize_ways as localize_ways,
    predict_released_maps as predict_released_maps,
    predict_ways as predict_ways,
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
