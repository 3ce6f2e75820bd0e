"""Where a result comes from: the data, the code, the versions, the machine."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from camlib import store
from camlib.datasets.base import Dataset

CLAIMS_FILE = "camlib/report/claims.py"
PACKAGES = ("camlib", "torch", "torchvision", "numpy", "opencv-python-headless", "scikit-learn", "accelerate", "timm")


def data_of(data: Dataset) -> dict[str, Any]:
    """What a value says of the data behind it."""
    return {"dataset": data.name, "synthetic": data.synthetic, "subset": "whole" in data.info}


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
    """Commit, the commit that last changed the registered claims, versions of what computes, and device."""
    return {
        "git_commit": _git_commit(),
        "claims_commit": _run_git("log", "-1", "--format=%H", "--", CLAIMS_FILE) or "unknown",
        "claims_changed": bool(_run_git("status", "--porcelain", "--", CLAIMS_FILE)),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "device": _describe_device(),
    }


def _run_git(*arguments: str) -> str:
    """What git says of the checkout; "" where there is none."""
    command = ["git", "-C", str(store.PROJECT_ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _describe_device() -> str:
    import torch

    from camlib.transforms import pick_device

    device = pick_device().type
    if device == "cuda":
        return torch.cuda.get_device_name()
    return "Apple GPU (MPS)" if device == "mps" else f"CPU, {os.cpu_count()} cores"


def _git_commit() -> str:
    """Commit of the working tree, with "+changes" when files differ from it; "unknown" outside a checkout."""
    commit = _run_git("rev-parse", "HEAD")
    return commit + "+changes" * bool(commit and _run_git("status", "--porcelain")) or "unknown"


def find_unregistered(record: Mapping[str, Any]) -> str:
    """Why a record's claims can't count as registered before its run, or "".

    The commit that last changed the claims must be an ancestor of the run's, and the claims unchanged since it then.
    """
    commit, claims = record["git_commit"].removesuffix("+changes"), record["claims_commit"]
    if "unknown" in (commit, claims):
        return "the run was made outside a git checkout"
    if _run_git("cat-file", "-t", commit) != "commit" or _run_git("cat-file", "-t", claims) != "commit":
        return f"this checkout does not hold the commits {claims[:10]} and {commit[:10]}"
    if _run_git("merge-base", claims, commit) != claims:
        return f"the claims' commit {claims[:10]} is no ancestor of the run's {commit[:10]}"
    if record["claims_changed"]:
        return "the claims had changes that were not committed when the run was made"
    return ""
