"""What becomes of freed memory: kept for the next layer, given back after the work and before workers start."""

import ctypes
import os
from typing import Any

OWN_SETTINGS = ("MALLOC_", "GLIBC_TUNABLES")  # of the shell
KEPT = 2**30  # bytes


def _find(name: str) -> Any:
    """A function of the C library, or None where it lacks that and where the shell has settings of its own."""
    if any(variable.startswith(OWN_SETTINGS) for variable in os.environ):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None


def keep_freed() -> None:
    """Have the C library keep memory that is freed, instead of handing each large block back at once.

    A layer's output is such a block: the system would clear the same memory again for every layer, which can take
    longer than the layer (benchmarks/memory.py). Until `return_freed` the process may stay as large as it once was.
    """
    if set_option := _find("mallopt"):
        set_option(-4, 0)  # M_MMAP_MAX: the main thread's large blocks come from its heap, too
        set_option(-1, KEPT)  # M_TRIM_THRESHOLD: so much at the heap's end


def return_freed() -> None:
    """Give back what is free: after the work, and before forked workers make each kept page one to copy."""
    if trim := _find("malloc_trim"):
        trim(0)
