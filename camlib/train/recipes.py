"""How to train: the recipes, their learning rates, and which parameters decay."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with momentum over whole epochs, the learning rate a function of the step alone."""

    epochs: int
    lr: float
    schedule: Literal["step", "one_cycle"]
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    frozen: bool = False  # train the added convolution and the linear layer alone
    share: float = 1.0  # of the schedule that is run, in whole epochs

    @property
    def epochs_run(self) -> int:
        """Epochs until the training stops."""
        return math.ceil(self.epochs * self.share)


RECIPES = {
    # Released solver of GoogLeNet-GAP: 160,000 iterations of 64 (8 epochs of ILSVRC), rate x0.1 every quarter of them.
    # The files that the authors published are of 120,000 and 90,000 iterations: three quarters are run.
    "paper": Recipe(epochs=8, lr=0.001, schedule="step", share=0.75),
    # The same rates on fewer images, to their end.
    "paper_short": Recipe(epochs=4, lr=0.001, schedule="step"),
    # A short modern one for networks trained from scratch on small images.
    "short": Recipe(epochs=8, lr=0.1, schedule="one_cycle"),
    # The paper's addition on a ready trunk. Of 0.003, 0.01, 0.03 and 0.1 the rate with the best mean accuracy of both
    # poolings on a fifth of the training images of 27 CUB classes; from 0.03 on max pooling diverges.
    "head": Recipe(epochs=12, lr=0.01, schedule="one_cycle", batch_size=32, frozen=True),
}


def get_recipe(name: str, epochs: int) -> Recipe:
    """Recipe `name` with `epochs` epochs (at least 1); ValueError lists the known names."""
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; expected at least 1")
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; expected one of {', '.join(RECIPES)}")
    return replace(RECIPES[name], epochs=epochs)


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """Learning rate of a step in 0..total_steps-1: "step" drops x0.1 each quarter, "one_cycle" warms up for 30 %."""
    if recipe.schedule == "step":
        return recipe.lr * 0.1 ** (4 * step // total_steps)
    progress = (step + 1) / total_steps
    if progress < 0.3:
        return recipe.lr * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / 0.3)))
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (progress - 0.3) / 0.7)) + 1e-6


def group_parameters(net: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Biases (and norm scales) without decay; biases learn twice as fast, as in the released prototxts."""
    parameters = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    weights = [p for _, p in parameters if p.ndim > 1]
    scales = [p for name, p in parameters if p.ndim == 1 and not name.endswith("bias")]
    biases = [p for name, p in parameters if p.ndim == 1 and name.endswith("bias")]
    return [
        {"params": weights, "weight_decay": recipe.weight_decay, "lr_factor": 1.0},
        {"params": scales, "weight_decay": 0.0, "lr_factor": 1.0},
        {"params": biases, "weight_decay": 0.0, "lr_factor": 2.0},
    ]
