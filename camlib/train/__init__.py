"""Networks to work with: trained on Accelerate (training.py), or from wherever their weights are (networks.py)."""

from camlib.train.networks import Network, imagenet_names, load_network, load_networks, published_preset
from camlib.train.recipes import RECIPES, Recipe, get_recipe, learning_rate
from camlib.train.training import train_model

__all__ = [
    "RECIPES", "Network", "Recipe", "get_recipe", "imagenet_names", "learning_rate", "load_network", "load_networks",
    "published_preset", "train_model",
]  # fmt: skip
