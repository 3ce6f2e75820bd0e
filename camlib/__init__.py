"""camlib: class activation mapping (Zhou et al., CVPR 2016) and every experiment of its paper.

cam, saliency        the CAM equation, resizing, ten crops; gradient saliency
boxes, metrics       map -> boxes; boxes and maps against the truth
stats                intervals and comparisons, and what they allow to say
models, caffe        GAPNet, the networks of the paper, adapters; the authors' caffemodels
store, transforms    folders, digests, cached shards; image files -> network input
train, evaluate      `load_network` and training; a network over a dataset
features, viz        pooled features, linear SVM and its CAM; figures
datasets             every source of images, one per file, and weights as files
explanation          `camlib.explain`: one photograph in; classes, maps and boxes out
experiments          what only the paper's experiments need; the notebooks import it
report, cli          the paper's numbers, results, plan, pages; the command line
"""

import ctypes
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camlib.explanation import Explanation as Explanation, explain as explain
    from camlib.train import load_network as load_network

__version__ = "0.1.0"

# Names for people, loaded when first used: torch takes seconds.
_LAZY = {"explain": "explanation", "Explanation": "explanation", "load_network": "train"}


def _keep_freed_memory(kept: int = 2**30) -> None:
    """Have the C library keep up to `kept` bytes that were freed, instead of handing each large block back at once.

    A layer's output is such a block: the system would clear the same memory again for every layer, which takes longer
    than the layer (benchmarks/ratios.py). Only glibc is told; what the shell says of it (MALLOC_...) stays.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        set_option(-4, 0)  # M_MMAP_MAX: no block for itself alone
        set_option(-1, kept)  # M_TRIM_THRESHOLD


_keep_freed_memory()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'camlib' has no attribute {name!r}")
    return getattr(import_module(f"camlib.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
