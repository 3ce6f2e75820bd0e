"""camlib: class activation mapping (Zhou et al., CVPR 2016) and every experiment of its paper.

cam, saliency        the CAM equation, resizing, ten crops; gradient saliency
boxes, metrics       map -> boxes; boxes and maps against the truth
stats                intervals and comparisons, and what they allow to say
models, caffe        GAPNet, the networks of the paper, adapters; the authors' caffemodels
store, transforms    folders, digests, cached shards; image files -> network input
train, evaluate      `load_network` and training; a network over a dataset
features, viz        pooled features, linear SVM and its CAM; figures
datasets             every source of images, one per file, and weights as files
experiments          what only the paper's experiments need; the notebooks import it
report, cli          the paper's numbers, results, plan, pages; the command line
"""

__version__ = "0.1.0"
