"""Which notebooks run with which settings: the profiles, and the plan that make follows."""

import shutil
import subprocess
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from camlib import store
from camlib.report.needs import keep_available, list_data, list_missing, name_missing
from camlib.report.settings import check_parameters, read_cells, read_parameters, read_yaml
from camlib.store import digest, digest_package, file_sha256, hold, write_aside

SUMMARY = "90_summary"  # the notebook that reads what the others wrote
# A change in these cannot change what a notebook computes.
NOT_COMPUTING = (
    "cli/__init__.py", "cli/data.py", "cli/people.py", "__main__.py", "datasets/download.py", "datasets/fetch.py",
    "report/plan.py", "report/settings.py", "report/needs.py", "report/pages.py", "report/cells.py", "report/grids.py",
    "report/estimate.py", "report/evidence.py", "report/example.py", "report/saving.py", "report/trainings.py",
)  # fmt: skip
SUFFIXES = ("params.yml", "ipynb", "partial.ipynb", "html", "json", "png")  # of what belongs to a notebook in a report


class Planned(NamedTuple):
    """How one notebook runs."""

    profile: str
    parameters: dict[str, Any]  # what takes the place of the notebook's defaults
    not_run: list[str]  # what was left out, with the reason


def list_gpus() -> list[str]:
    """The NVIDIA GPUs, a line for each, without importing torch."""
    tool = shutil.which("nvidia-smi")
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False).stdout if tool else ""
    return [line for line in listed.splitlines() if line.startswith("GPU ")]


def has_gpu() -> bool:
    """Whether an NVIDIA GPU is there."""
    return bool(list_gpus())


def find_notebooks() -> dict[str, Path]:
    """Name -> path of the project's notebooks, in their order."""
    return {path.stem: path for path in sorted((store.PROJECT_ROOT / "notebooks").glob("[0-9]*.ipynb"))}


def read_profiles() -> dict[str, dict[str, str]]:
    """The profiles of params/profiles.yml, richest first: name -> {for, time, auto, probe, based_on, without_gpu}."""
    return read_yaml(store.find_checkout() / "params" / "profiles.yml")


def read_overrides(path: Path) -> dict[str, Any]:
    """What takes the place of a notebook's defaults: a file of `camlib plan`, or a mapping of parameters."""
    return read_planned(path).parameters if "made_by" in read_yaml(path) else read_yaml(path)


def read_profile(profile: str) -> dict[str, dict[str, Any]]:
    """Settings of a profile -> {notebook: overrides}, from `params/<profile>.yml`; mini is every notebook's defaults.

    Settings that its file does not give are those of the profile that it is `based_on`. On a machine without a GPU the
    file that `without_gpu` names takes the place of single settings.
    Notebooks that have no parameter but `report_dir` belong to every profile.
    Raises ValueError for an unknown profile, notebook or parameter.
    """
    profiles, notebooks = read_profiles(), find_notebooks()
    if profile not in profiles:
        close = get_close_matches(profile.lower(), ["auto", *profiles])
        hint = f"did you mean {' or '.join(close)}?" if close else f"expected one of auto, {', '.join(profiles)}"
        raise ValueError(f"unknown profile {profile!r}; {hint}")
    if profile == "mini":
        return {name: {} for name in notebooks}
    settings: dict[str, dict[str, Any]] = {}
    about = profiles[profile]
    reduced = None if has_gpu() else about.get("without_gpu")
    for file in [f"{part}.yml" for part in (about.get("based_on"), profile, reduced) if part]:
        for name, overrides in read_yaml(store.PROJECT_ROOT / "params" / file).items():
            if name not in notebooks:
                raise ValueError(f"params/{file}: no notebook is called {name!r}; there are {', '.join(notebooks)}")
            check_parameters({} if overrides is None else overrides, notebooks[name], f"params/{file}")
            settings[name] = settings.get(name, {}) | (overrides or {})
    return settings | {name: {} for name, path in notebooks.items() if set(read_parameters(path)) == {"report_dir"}}


def list_users() -> dict[str, list[str]]:
    """Dataset or network with released weights -> the numbers of the notebooks that take it in some profile."""
    pairs = {
        (data, notebook.partition("_")[0])
        for profile in read_profiles()
        for notebook, settings in complete_settings(read_profile(profile)).items()
        for data in list_data(settings)
    }
    return {data: sorted(number for name, number in pairs if name == data) for data, _ in pairs}


# ------------------------------------------------------------------------------------------------ the plan


def choose_settings(profile: str, check_data: bool = True) -> dict[str, Planned]:
    """Notebook -> how it runs. "auto" gives each notebook the richest profile whose data and weights are there.

    check_data: whether data that a profile asked for by name lacks are an error. What a profile marked `partial` lacks
    is left out; the summary says what.
    Raises FileNotFoundError, with all that is missing.
    """
    if profile == "auto":
        return _choose_auto()
    settings = read_profile(profile)
    whole = complete_settings(settings)
    missing = {name: list_missing(one) for name, one in whole.items()}
    if not check_data or not any(missing.values()):
        return {name: Planned(profile, overrides, []) for name, overrides in settings.items()}
    chosen, not_run = {}, []
    if read_profiles()[profile].get("partial"):
        for name, overrides in settings.items():
            kept = keep_available(whole[name])
            if kept:
                chosen[name] = Planned(profile, {key: kept[0][key] for key in overrides}, kept[1])
            else:
                not_run.append(f"{name}: {name_missing(missing[name])}")
    if not any(planned.parameters for planned in chosen.values()):
        every = sorted({text for texts in missing.values() for text in texts})
        names = ", ".join(dict.fromkeys(text.partition(":")[0] for text in every))
        raise FileNotFoundError(f"profile {profile} needs data that is not there: {names}\n\n" + "\n\n".join(every))
    summary = chosen.get(SUMMARY, Planned(profile, {}, []))
    return chosen | {SUMMARY: summary._replace(not_run=not_run)}


def _choose_auto() -> dict[str, Planned]:
    chosen: dict[str, Planned] = {}
    for candidate, about in read_profiles().items():
        auto = about.get("auto", "always")
        if auto == "never" or (auto == "gpu" and not has_gpu()):
            continue
        for name, overrides in read_profile(candidate).items():
            if name in chosen or not overrides:
                continue  # nothing is overridden: that is no richer profile
            kept = keep_available(complete_settings({name: overrides})[name])
            if kept:
                chosen[name] = Planned(candidate, {key: kept[0][key] for key in overrides}, kept[1])
    return {name: Planned("mini", {}, []) for name in find_notebooks()} | chosen


def takes_hours(profile: str) -> bool:
    """Whether a plan holds a profile that is marked `probe`."""
    profiles = read_profiles()
    return any(profiles[planned.profile].get("probe") for planned in choose_settings(profile).values())


def complete_settings(overrides: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each notebook's defaults with its overrides."""
    notebooks = find_notebooks()
    return {name: read_parameters(notebooks[name]) | changed for name, changed in overrides.items()}


def format_plans(profile: str, chosen: dict[str, Planned]) -> dict[str, str]:
    """Notebook -> text of its params.yml: the profile, the parameters, what was left out, and `made_by`.

    made_by: digests of all else that the outcome depends on, so that make runs a notebook again exactly when one of
    these changed.
    """
    notebooks, code, lock = find_notebooks(), digest_package(without=NOT_COMPUTING), _digest_lock()
    return {
        name: yaml.safe_dump(
            {
                "profile": source,
                "parameters": overrides | {"report_dir": f"../reports/{profile}"},
                "not_run": not_run,
                "made_by": {"code": code, "lock": lock, "notebook": _digest_notebook(notebooks[name])},
            },
            allow_unicode=True,
        )
        for name, (source, overrides, not_run) in chosen.items()
    }


def write_plan(profile: str) -> list[str]:
    """Decide what runs with which settings: writes reports/<profile>/<notebook>.params.yml where it changed.

    Returns the plan as lines for people. Raises BlockingIOError while another process writes that report.
    """
    folder, chosen = store.find_checkout() / "reports" / profile, choose_settings(profile)
    for place in (store.cache_dir(), store.checkpoint_dir(), folder):
        store.sweep_asides(place, "**/.*")
    with hold(folder / ".lock", f"plan {profile}", wait=False):
        _write_params(folder, format_plans(profile, chosen))
    lines = []
    for source, about in read_profiles().items():
        names = sorted(name for name, planned in chosen.items() if planned.profile == source)
        if names:
            lines += [f"{source} ({about['for']}; {about['time']}):", f"  {', '.join(names)}"]
            lines += [f"  {name}, not run: {text}" for name in names for text in chosen[name].not_run]
    return lines


def _write_params(folder: Path, plans: dict[str, str]) -> None:
    """Write the plan of each notebook where it changed, and remove what no longer belongs to the report."""
    for name, text in plans.items():
        path = folder / f"{name}.params.yml"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            with write_aside(path) as aside:
                aside.write_text(text, encoding="utf-8")
    for path in folder.glob("*.params.yml"):
        name = path.name.removesuffix(".params.yml")
        if name not in plans:  # no longer part of this report: nothing of it may stay in the index
            for suffix in SUFFIXES:
                (folder / f"{name}.{suffix}").unlink(missing_ok=True)
            (folder / "index.html").unlink(missing_ok=True)


def read_planned(path: Path) -> Planned:
    """A file that `write_plan` wrote. Raises ValueError, naming the file, if it is something else."""
    try:
        planned = read_yaml(path)
        profile, parameters, not_run = planned["profile"], planned["parameters"], planned["not_run"]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; `camlib plan PROFILE` writes it") from error
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a plan of one notebook ({error!r})") from error
    if not (isinstance(profile, str) and isinstance(parameters, dict) and isinstance(not_run, list)):
        raise ValueError(f"{path}: not a plan of one notebook; expected text, a mapping and a list")
    return Planned(profile, parameters, not_run)


def _digest_notebook(path: Path) -> str:
    """Of what a notebook says and does, not of its outputs."""
    return digest([[c["cell_type"], c["source"], c["tags"]] for c in read_cells(path)])


def _digest_lock() -> str:
    lock = store.PROJECT_ROOT / "requirements.lock"
    return file_sha256(lock)[:16] if lock.exists() else ""
