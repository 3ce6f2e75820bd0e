"""What JupyterLab does after it saved a notebook (`make lab`)."""

import subprocess
from pathlib import Path
from typing import Any


def refresh_index(model: dict[str, Any], os_path: str, **_: Any) -> None:
    """Tell git that a saved notebook is unchanged where only outputs and counts changed, which its filter drops.

    Git compares sizes before it asks the filter, and would list every notebook that ran as modified. Nothing is staged:
    the file is added only if git would keep the very same text. Outside a checkout nothing happens.
    """
    path = Path(os_path)
    if model["type"] == "notebook":
        kept, now = _ask_git(path, "rev-parse", f":./{path.name}"), _ask_git(path, "hash-object", path.name)
        if now and kept == now:
            _ask_git(path, "add", path.name)


def _ask_git(path: Path, *arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=path.parent, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
