"""The networks that camlib writes out itself: AlexNet*-GAP, NIN, and small ones for small images."""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from camlib.models.gapnet import GAPNet, Pool, identity_linear


def lrn() -> nn.Module:
    """Local response normalisation as in the released prototxts."""
    return nn.LocalResponseNorm(size=5, alpha=1e-4, beta=0.75)


def ceil_pool(kernel: int = 3, stride: int = 2) -> nn.Module:
    """Max pooling whose output size is rounded up, as Caffe does."""
    # Like Caffe, PyTorch drops a last window that would start outside the image.
    return nn.MaxPool2d(kernel, stride, ceil_mode=True)


def alexnet_star_backbone() -> nn.Sequential:
    """AlexNet*-GAP up to conv7, layers named as in the released prototxt; 227 px -> (512, 11, 11)."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, stride=4), relu1=nn.ReLU(True), pool1=ceil_pool(), norm1=lrn(),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2), relu2=nn.ReLU(True), pool2=ceil_pool(), norm2=lrn(),
            conv3=nn.Conv2d(256, 384, 3, padding=1), relu3=nn.ReLU(True),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2), relu4=nn.ReLU(True),
            conv5=nn.Conv2d(384, 384, 3, padding=1, groups=2), relu5=nn.ReLU(True), pool5=ceil_pool(stride=1),
            conv6=nn.Conv2d(384, 512, 3, padding=1, groups=2), relu6=nn.ReLU(True),
            conv7=nn.Conv2d(512, 512, 3, padding=1, groups=2), relu7=nn.ReLU(True),
        )
    )  # fmt: skip


def _alexnet_star_gap(num_classes: int, pool: Pool) -> GAPNet:
    return GAPNet(alexnet_star_backbone(), nn.Linear(512, num_classes), pool, dropout=0.5)


def add_cam_conv(backbone: nn.Module, channels: int) -> nn.Sequential:
    """The paper's addition: one 3x3 convolution with 1024 units and its ReLU, drawn as in the released recipe."""
    cam_conv = nn.Conv2d(channels, 1024, 3, padding=1)
    nn.init.normal_(cam_conv.weight, std=0.01)
    nn.init.ones_(cam_conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(OrderedDict(cut=backbone, CAM_conv=cam_conv, relu=nn.ReLU(True)))


def cam_linear(num_classes: int) -> nn.Linear:
    """The linear layer on the added convolution, drawn as in the released recipe."""
    fc = nn.Linear(1024, num_classes)
    nn.init.xavier_uniform_(fc.weight)
    nn.init.zeros_(fc.bias)
    return fc


def _conv_relu(c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.ReLU(inplace=True)]


def _nin(num_classes: int, pool: Pool) -> GAPNet:
    """Network in Network (ImageNet model of its authors): the class maps are pooled as they are; 224 px -> 6x6."""
    backbone = nn.Sequential(
        *_conv_relu(3, 96, 11, stride=4), *_conv_relu(96, 96, 1), *_conv_relu(96, 96, 1), ceil_pool(),
        *_conv_relu(96, 256, 5, padding=2), *_conv_relu(256, 256, 1), *_conv_relu(256, 256, 1), ceil_pool(),
        *_conv_relu(256, 384, 3, padding=1), *_conv_relu(384, 384, 1), *_conv_relu(384, 384, 1), ceil_pool(),
        nn.Dropout(0.5),
        *_conv_relu(384, 1024, 3, padding=1), *_conv_relu(1024, 1024, 1), *_conv_relu(1024, num_classes, 1),
    )  # fmt: skip
    return GAPNet(backbone, identity_linear(num_classes), pool)


def _conv_stack(
    channels: tuple[int, ...], strides: tuple[int, ...], num_classes: int, pool: Pool, dilations: tuple[int, ...] = ()
) -> GAPNet:
    layers: list[nn.Module] = []
    c_in = 3
    for c_out, stride, step in zip(channels, strides, dilations or (1,) * len(channels), strict=True):
        conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=step, dilation=step, bias=False)
        layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        c_in = c_out
    return GAPNet(nn.Sequential(*layers), nn.Linear(channels[-1], num_classes), pool)


MINI_CHANNELS = (16, 32, 48, 64, 64)


def _mini_gap(num_classes: int, pool: Pool) -> GAPNet:
    """Five convolutions for the drawn data: 64 px -> (64, 16, 16)."""
    return _conv_stack(MINI_CHANNELS, (2, 1, 2, 1, 1), num_classes, pool)


# The same parameters and the same receptive field (27 px) on a coarser and a finer grid: with equal weights each map is
# every other cell of the next one. A stride that is taken away leaves dilation behind.
def _mini_gap_8(num_classes: int, pool: Pool) -> GAPNet:
    """mini_gap with a stride in its last convolution: 64 px -> (64, 8, 8)."""
    return _conv_stack(MINI_CHANNELS, (2, 1, 2, 1, 2), num_classes, pool)


def _mini_gap_32(num_classes: int, pool: Pool) -> GAPNet:
    """mini_gap without the stride of its third convolution: 64 px -> (64, 32, 32)."""
    return _conv_stack(MINI_CHANNELS, (2, 1, 1, 1, 1), num_classes, pool, (1, 1, 1, 2, 2))


def _tiny_gap(num_classes: int, pool: Pool) -> GAPNet:
    """Seven convolutions for small photographs: 64 px -> (128, 16, 16)."""
    return _conv_stack((32, 48, 64, 64, 96, 96, 128), (2, 1, 2, 1, 1, 1, 1), num_classes, pool)


OWN_MODELS: dict[str, Callable[[int, Pool], GAPNet]] = {
    "alexnet_star_gap": _alexnet_star_gap,
    "nin": _nin,
    "mini_gap": _mini_gap,
    "mini_gap_8": _mini_gap_8,
    "mini_gap_32": _mini_gap_32,
    "tiny_gap": _tiny_gap,
}
