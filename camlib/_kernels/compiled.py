"""How camlib compiles a loop."""

from collections.abc import Callable
from typing import Any

import numba

# As many as cores that this process may use, unless the shell says otherwise.
THREADS: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


def compiled(function: Callable[..., Any], fused: bool = False) -> Callable[..., Any]:
    """numba.njit without the GIL, cached on disk; compiled anew in each process where no folder can be written.

    fused: a product and a sum may be rounded once, together.
    """
    fastmath: Any = {"contract"} if fused else False
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=fastmath)(function)
    except RuntimeError:  # numba found neither __pycache__ nor the user's cache folder writable
        return numba.njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
