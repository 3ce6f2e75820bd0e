"""Training on top of a frozen trunk: its feature maps are computed once and kept; only what comes after is trained."""

from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camlib.datasets.base import Dataset
from camlib.evaluate import forward_batches
from camlib.models import GAPNet, digest_network
from camlib.store import digest, run_sharded
from camlib.transforms import Preset


def split_trunk(net: GAPNet) -> tuple[GAPNet, GAPNet]:
    """A network with the paper's added convolution -> (its trunk, what comes after); both share its weights.

    The trunk keeps the linear layer, unused. Raises ValueError for a network without that convolution.
    """
    parts = dict(net.backbone.named_children())
    if set(parts) != {"cut", "CAM_conv", "relu"}:
        raise ValueError(f"the network has no added convolution, but {', '.join(parts)}; nothing to train on a trunk")
    after = nn.Sequential(parts["CAM_conv"], parts["relu"])
    return GAPNet(parts["cut"], net.fc, net.pool), GAPNet(after, net.fc, net.pool, net.dropout.p)


def compute_maps(trunk: GAPNet, dataset: Dataset, preset: Preset) -> Tensor:
    """The trunk's feature maps of every image's centre crop: (N, K, h, w) float32, kept on disk shard by shard."""

    def forward(x: Tensor, batch: np.ndarray) -> np.ndarray:
        return trunk.features(x).float().cpu().numpy()

    def compute(indices: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "maps": np.concatenate([m for _, m in forward_batches(trunk, dataset, preset, forward, indices=indices)])
        }

    key = digest(digest_network(trunk.backbone), dataset.cache_key, asdict(preset))
    label = f"trunk-{dataset.name}-{dataset.split}"
    return torch.from_numpy(run_sharded(label, key, len(dataset), compute, 1024, ["maps"])["maps"])


def mirror_maps(maps: Tensor, generator: torch.Generator, share: tuple[int, int] = (0, 1)) -> Tensor:
    """Mirror each of (B, K, h, w) with probability one half: nearly what the trunk gives for a mirrored image.

    share: see `transforms.random_crop_mirror`.
    """
    mirrored = torch.rand(len(maps) * share[1], generator=generator)[share[0] :: share[1]] < 0.5
    return torch.where(mirrored.to(maps.device)[:, None, None, None], maps.flip(-1), maps)


def evaluate_maps(net: GAPNet, maps: Tensor, labels: Tensor, device: torch.device) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy in % from feature maps (N, K, h, w). Leaves the net in training mode."""
    net.eval()
    with torch.no_grad():
        logits = torch.cat([net(part.to(device)).float().cpu() for part in maps.split(256)])
    net.train()
    return F.cross_entropy(logits, labels).item(), 100 * (logits.argmax(1) == labels).float().mean().item()
