"""Which notebooks run with which settings: profiles, parameters checked by name, data that is missing."""

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

from camlib import datasets, store
from camlib.datasets.weights import find_released
from camlib.store import data_root, write_aside

RICHEST_FIRST = ("full", "released", "tiny", "samples", "mini")
# Notebook parameters that name data; a profile can run a notebook only if all it names is there.
DATA_PARAMETERS = ("dataset", "datasets", "trained_on", "targets")
SOME = ("targets", "rows")  # of these `auto` takes what is there, and needs one of each
NO_FILE = ("", "random", "train", "finetune", "torchvision")  # values of `weights` that name no file


def read_parameters(notebook: Path) -> dict[str, Any]:
    """Names and defaults of a notebook's cell tagged `parameters`; ValueError if there is none or it isn't literal."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{notebook}: {len(tagged)} cells are tagged 'parameters', expected one")
    parameters = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            raise ValueError(f"{notebook}: the parameters cell must hold nothing but assignments of literals")
        parameters[node.targets[0].id] = ast.literal_eval(node.value)
    return parameters


def check_parameters(given: dict[str, Any], notebook: Path, source: str) -> None:
    """ValueError, naming it, for a parameter that the notebook does not have (papermill would only warn)."""
    known = read_parameters(notebook)
    for name in given:
        if name not in known:
            raise ValueError(f"{source}: {notebook.stem} has no parameter {name!r}; it has {', '.join(known)}")


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is there, without importing torch."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and b"GPU " in subprocess.run([tool, "-L"], capture_output=True, check=False).stdout


def read_profile(profile: str) -> dict[str, dict[str, Any]]:
    """Settings of a profile -> {notebook: overrides}, from `params/<profile>.yml`; mini is every notebook's defaults.

    On a machine without a GPU `params/<profile>-cpu.yml`, where there is one, takes the place of single settings.
    Raises ValueError for an unknown profile, notebook or parameter.
    """
    notebooks = {p.stem: p for p in sorted((store.PROJECT_ROOT / "notebooks").glob("[0-9]*.ipynb"))}
    if profile == "mini":
        return {name: {} for name in notebooks}
    settings: dict[str, dict[str, Any]] = {}
    files = [store.PROJECT_ROOT / "params" / f"{profile}.yml"]
    if not files[0].exists():
        known = sorted(p.stem for p in files[0].parent.glob("*.yml") if not p.stem.endswith("-cpu"))
        raise ValueError(f"unknown profile {profile!r}; expected one of auto, mini, {', '.join(known)}")
    reduced = files[0].with_stem(f"{profile}-cpu")
    if reduced.exists() and not has_gpu():
        files.append(reduced)
        typer.echo(f"no GPU found: {profile} runs with the reduced settings of params/{reduced.name}")
    for file in files:
        for name, overrides in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            if name not in notebooks:
                raise ValueError(
                    f"params/{file.name}: no notebook is called {name!r}; there are {', '.join(notebooks)}"
                )
            check_parameters(overrides or {}, notebooks[name], f"params/{file.name}")
            settings[name] = settings.get(name, {}) | (overrides or {})
    return settings


def _missing_weights(model: str, weights: str) -> list[str]:
    """What is missing of the file that a network is loaded from."""
    if weights in NO_FILE:
        return []
    if weights != "released":
        there = (data_root() / weights).is_file()
        return [] if there else [f"weights: missing: {weights}\n  goes into: {data_root()}"]
    try:
        find_released(model, data_root())
    except FileNotFoundError as error:
        return [str(error)]
    return []


def missing_data(overrides: dict[str, Any]) -> Iterator[str]:
    """What a profile's settings of one notebook need and the machine lacks, each with place and how to get it.

    Datasets first: whoever stops at the first that is missing need not wait for torch.
    """
    single = [["", overrides.get("model", ""), "", overrides.get("weights", "train"), ""]]
    networks = overrides.get("networks") or overrides.get("rows") or single
    trains = any(network[3] in ("train", "finetune") for network in networks)
    named = [overrides[key] for key in DATA_PARAMETERS if key in overrides and (trains or key != "trained_on")]
    names = [name for value in named for name in ([value] if isinstance(value, str) else value)]
    yield from (datasets.describe_missing(n, train=trains) for n in names if not datasets.is_available(n, train=trains))
    yield from (text for _, model, _, weights, *_ in networks for text in _missing_weights(model, weights))


def keep_what_is_there(overrides: dict[str, Any]) -> dict[str, Any]:
    """Settings with only those of `targets` and `rows` (of features) whose data are there, for `auto`.

    torchvision's weights count as there once torch has downloaded them.
    """
    kept = dict(overrides)
    if "targets" in kept:
        kept["targets"] = [name for name in kept["targets"] if datasets.is_available(name)]
    if "rows" in kept:
        source = kept.get("trained_on")
        trainable = source is None or datasets.is_available(source, train=True)
        kept["rows"] = [
            row
            for row in kept["rows"]
            if (trainable if row[3] in ("train", "finetune") else not _missing_weights(row[1], row[3]))
            and (row[3] != "torchvision" or _is_downloaded(row[1]))
        ]
    return kept


def _is_downloaded(model: str) -> bool:
    """Whether torchvision's weights lie in torch's own cache (found by name, without importing torch)."""
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    folder = Path(home).expanduser() / "hub" / "checkpoints"
    return any(folder.glob(f"{model.removesuffix('_fc7')}-*.pth"))


def write_plan(profile: str) -> None:
    """Decide what runs with which settings: writes reports/<profile>/<notebook>.params.yml where it changed."""
    folder = store.PROJECT_ROOT / "reports" / profile
    chosen: dict[str, tuple[str, dict[str, Any]]] = {}
    if profile == "auto":
        there = {path.stem for path in (store.PROJECT_ROOT / "params").glob("*.yml")} | {"mini"}
        for candidate in (profile for profile in RICHEST_FIRST if profile in there):
            for name, overrides in read_profile(candidate).items():
                if not overrides and candidate != "mini":
                    continue  # the summary: nothing is overridden, so that is no richer profile
                kept = keep_what_is_there(overrides)
                if name not in chosen and all(kept.get(key, True) for key in SOME) and not any(missing_data(kept)):
                    chosen[name] = (candidate, kept)
    else:
        chosen = {name: (profile, overrides) for name, overrides in read_profile(profile).items()}
        missing = {text for _, overrides in chosen.values() for text in missing_data(overrides)}
        if missing:
            raise FileNotFoundError(
                f"profile {profile} needs data that is not there:\n\n" + "\n\n".join(sorted(missing))
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, (source, overrides) in sorted(chosen.items()):
        used = ", ".join([*overrides.get("targets", []), *(row[0] for row in overrides.get("rows", []))])
        typer.echo(f"{name}: profile {source}" + (f" ({used})" if used else ""))
        text = f"# profile: {source}\n" + yaml.safe_dump(overrides | {"report_dir": f"../reports/{profile}"})
        path = folder / f"{name}.params.yml"
        if not path.exists() or path.read_text() != text:
            with write_aside(path) as aside:
                aside.write_text(text)
    for path in folder.glob("*.params.yml"):
        name = path.name.removesuffix(".params.yml")
        if name not in chosen:  # no longer part of this report: nothing of it may stay in the index
            for suffix in ("params.yml", "ipynb", "partial.ipynb", "html", "json", "png"):
                (folder / f"{name}.{suffix}").unlink(missing_ok=True)
            (folder / "index.html").unlink(missing_ok=True)
