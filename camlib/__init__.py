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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from camlib._memory import keep_freed

if TYPE_CHECKING:
    from camlib.explanation import Explanation as Explanation, explain as explain
    from camlib.train import load_network as load_network

__version__ = "0.1.0"

# Names for people, loaded when first used: torch takes seconds.
_LAZY = {"explain": "explanation", "Explanation": "explanation", "load_network": "train"}


keep_freed()


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'camlib' has no attribute {name!r}")
    return getattr(import_module(f"camlib.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
