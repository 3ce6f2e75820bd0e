"""Options of datasets: which there are, and what they may be."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from camlib.datasets.base import Source

LOWEST = {"seed": 0, "size": 32, "clutter": 0}  # of the options of datasets; of all others 1


def check_options(name: str, source: Source, options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that a dataset does not have, ValueError for a value that it can't be.

    An option is a whole number, or, where its default is not, a number above 0. None is taken where it is the default,
    and for `test_per_class` (all the others).
    """
    for option, value in options.items():
        if option not in source.options:
            raise TypeError(f"{name} takes no option {option!r}; it takes {', '.join(source.options) or 'none'}")
        if value is None and (source.options[option] is None or option == "test_per_class"):
            continue
        if isinstance(source.options[option], float):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name}: {option} is {value!r}; expected a number above 0")
            continue
        lowest = LOWEST.get(option, 1)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < lowest:
            raise ValueError(f"{name}: {option} is {value!r}; expected a whole number, at least {lowest}")
