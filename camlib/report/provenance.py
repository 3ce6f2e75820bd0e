"""Where a result comes from: the data, the code, the versions, the machine."""

import os
import platform
import subprocess
from importlib.metadata import version
from typing import Any

from camlib import store
from camlib.datasets.base import Dataset

PACKAGES = ("camlib", "torch", "torchvision", "numpy", "opencv-python-headless", "scikit-learn", "accelerate", "timm")


def describe_dataset(data: Dataset) -> dict[str, Any]:
    """What a results file says of a dataset that a run measured."""
    return {
        "name": data.name,
        "split": data.split,
        "n": len(data),
        "whole": data.info.get("whole"),
        "classes": len(data.classes),
        "source": data.source,
        "fingerprint": data.fingerprint,
        "synthetic": data.synthetic,
    }


def describe_machine() -> dict[str, Any]:
    """Commit, versions of what computes, and device."""
    import torch

    return {
        "git_commit": _git_commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
    }


def _git_commit() -> str:
    """Commit of the working tree, with "+changes" when files differ from it; "unknown" outside a checkout."""
    git = ["git", "-C", str(store.PROJECT_ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+changes" if changed.strip() else "")
