"""camlib: class activation mapping (Zhou et al., CVPR 2016) and every experiment of its paper."""

__version__ = "0.1.0"
