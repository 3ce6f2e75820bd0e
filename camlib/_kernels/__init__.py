"""The compiled loops of boxes and metrics, and nothing else."""

from camlib._kernels.compiled import THREADS as THREADS
from camlib._kernels.components import bound_largest as bound_largest, box_enlarged as box_enlarged
from camlib._kernels.regions import distance_mask as distance_mask, sweep_components as sweep_components
