"""Run a Caffe network with OpenCV 4.x (5.0 has no Caffe reader any more) and save some of its blobs.

    python opencv4_caffe.py net.prototxt net.caffemodel input.npy output.npz LAYER [LAYER ...]

Stands alone: needs only `opencv-python-headless<5` and numpy. input.npy: float32 (B, 3, H, W).
"""

import sys

import cv2
import numpy as np

if cv2.__version__.split(".")[0] != "4":
    sys.exit(f"OpenCV 4.x is needed for its Caffe reader; this is {cv2.__version__}")
prototxt, caffemodel, source, target, *layers = sys.argv[1:]
net = cv2.dnn.readNetFromCaffe(prototxt, caffemodel)
net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
net.setInput(np.load(source))
np.savez(target, **dict(zip(layers, net.forward(layers), strict=True)), version=np.array(cv2.__version__))
