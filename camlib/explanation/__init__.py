"""One photograph in; classes, maps and boxes out: `camlib.explain`.

photographs.py: the function. networks.py: what it takes as a network, classes by name. evidence.py: what it gives.
(A module called `explain` would hide the function of that name as soon as it is imported.)
"""

from camlib.explanation.evidence import (
    ClassEvidence as ClassEvidence,
    Explanation as Explanation,
    place_map as place_map,
)
from camlib.explanation.networks import find_classes as find_classes, wrap_network as wrap_network
from camlib.explanation.photographs import explain as explain
