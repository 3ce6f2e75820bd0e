"""What a notebook may be given: names, kinds and ranges, all checked before anything runs."""

import ast
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from camlib import datasets
from camlib.datasets.options import check_options
from camlib.report.records import LITERALS

# The kinds that the comment of a parameter names: `# int: ...`, `# list of str: ...`.
KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (float, int), "str": (str,), "bool": (bool,), "dict": (dict,), "list": (list,),
}  # fmt: skip
# The least that a whole number may be, wherever in the settings its name stands; in a list every item.
LEAST = {
    "batch_size": 1, "count": 1, "crops_images": 0, "crops_squash": 0, "draws": 1, "epochs": 1, "gradient_images": 0,
    "gradient_top": 1, "grid": 1, "heldout_images": 1, "image": 0, "min_images": 1, "occluded": 1, "patches": 1,
    "per_class": 1, "permutations": 1, "scale": 1, "seed": 0, "seeds": 0, "shown": 1, "shuffles": 0, "telling": 1,
}  # fmt: skip
NOT_NEGATIVE = ("gradient_smooth",)
SHARES = ("fit_share", "threshold")  # between 0 and 1, both excluded
NOT_EMPTY = ("networks", "seeds", "targets")
LABELS = ("crops_networks", "headline", "mapped")  # name networks of `networks` by their labels
CHOICES = {"pool": ("avg", "max"), "geometry": ("crop", "whole")}
NETWORK_KEYS = ("model", "weights", "pool", "preset", "geometry", "scale")  # what load_network takes
ROWS = ("networks", "backprop")  # lists of networks, a row of a table each
ROW_KEYS = ("label", "paper_row", "class_row", "against")  # what a row may have besides
DEEPEST = 20  # mappings and lists within each other


# ------------------------------------------------------------------------------------------------ reading


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping; an empty file is an empty one. Raises ValueError, naming the file, for anything else."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a YAML file of parameters")
    try:
        found = _parse_yaml(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # of the text, or of its encoding
        raise ValueError(f"{path}: not YAML in UTF-8 ({error})") from error
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{path}: holds {type(found).__name__}; expected a mapping of names to values")
    return found or {}


def parse_value(text: str) -> tuple[str, Any]:
    """ "epochs=3" -> ("epochs", 3), a YAML value. Raises ValueError, naming the parameter, if it isn't one."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"--set {text}: expected name=value")
    try:
        return name.strip(), _parse_yaml(value)
    except ValueError as error:
        raise ValueError(f"--set {text}: the value of {name} is not YAML ({error})") from error


def _parse_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as e:
        # A value that its tag or form does not allow (a 13th month) is no YAMLError.
        raise ValueError(" ".join(str(e).split())) from e


class _Loader(yaml.SafeLoader):
    """Plain values alone, and no name twice in a mapping: the second would win silently."""


def _read_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} stands twice in a mapping{node.start_mark}")
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _read_mapping)


def read_cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook. Raises FileNotFoundError, or ValueError if the file is no notebook, naming it."""
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook}: no such notebook")
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return [c | {"source": "".join(c["source"]), "tags": list(c["metadata"].get("tags", []))} for c in cells]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{notebook}: not a notebook ({error!r})") from error


def read_parameters(notebook: Path) -> dict[str, Any]:
    """Names and defaults of a notebook's cell tagged `parameters`; ValueError if there is none or it isn't literal."""
    return {name: value for name, (value, _) in _read_parameters(notebook).items()}


def _read_parameters(notebook: Path) -> dict[str, tuple[Any, str]]:
    """Name -> (default, the kind that its comment names; without such a comment, the kind of the default)."""
    tagged = [c["source"] for c in read_cells(notebook) if "parameters" in c["tags"]]
    if len(tagged) != 1:
        raise ValueError(f"{notebook}: {len(tagged)} cells are tagged 'parameters', expected one")
    parameters, lines = {}, tagged[0].splitlines()
    try:
        for node in ast.parse(tagged[0]).body:
            if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
                raise ValueError(f"line {node.lineno} is something else")
            comments = [re.search(r"#\s*([a-z ]+?)\s*(:|$)", line) for line in lines[node.lineno - 1 : node.end_lineno]]
            kinds = [c[1] for c in comments if c and (c[2] or c[1].split()[0] in KINDS)]
            default = ast.literal_eval(node.value)
            kind = kinds[0] if kinds else type(default).__name__
            parameters[node.targets[0].id] = default, kind
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"{notebook}: the parameters cell must hold nothing but assignments of literals ({error})"
        ) from error
    return parameters


# ------------------------------------------------------------------------------------------------ checking


def check_parameters(given: Mapping[str, Any], notebook: Path, source: str) -> None:
    """Refuse what a notebook can't be run with: an unknown parameter, a wrong kind, a value out of range.

    given: what takes the place of the notebook's defaults. source: where it comes from, for the message.
    Raises ValueError that names the parameter, its value and what was expected. Whether the data hold enough is known
    later.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"{source}: {notebook.stem} has {given!r}; expected a mapping of parameters")
    known = _read_parameters(notebook)
    for name, value in given.items():
        if name not in known:
            close = get_close_matches(str(name), known)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{source}: {notebook.stem} has no parameter {name!r}; it has {', '.join(known)}{hint}")
        try:
            _check_kind(value, known[name][1])
            for place, key, part in _walk(name, value):
                _check_value(place, key, part)
            if name in ROWS:
                _check_rows(name, value, known[name][0])
        except (ValueError, TypeError) as error:
            what = str(error) if str(error).startswith(f"{name} ") else f"{name} is {_shorten(value)}: {error}"
            raise ValueError(f"{source}: {notebook.stem}: {what}") from error
    try:
        _check_together({name: value for name, (value, _) in known.items()} | dict(given), given)
    except ValueError as error:
        raise ValueError(f"{source}: {notebook.stem}: {error}") from error


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_kind(value: Any, comment: str) -> None:
    outer, _, inner = comment.partition(" of ")
    if comment == "NoneType":  # no comment, and a default that says nothing
        return
    if outer not in KINDS or (inner and inner not in KINDS):
        raise ValueError(f"its comment says {comment!r}; expected one of {', '.join(KINDS)}, or list of one of them")
    if not _is_kind(value, outer) or (inner and not all(_is_kind(item, inner) for item in value)):
        raise ValueError(f"expected {comment}")


def _is_kind(value: Any, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and (kind == "bool" or not isinstance(value, bool))


def _walk(key: Any, value: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any, Any]]:
    """(place, key, value) of a parameter and of all within it; the items of a list have the key of the list."""
    place = place or str(key)
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} mappings and lists within each other")
    yield place, key, value
    if isinstance(value, dict):
        for name, part in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{place} has the key {name!r}; expected a name")
            yield from _walk(name, part, f"{place}.{name}", depth + 1)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _walk(key, part, f"{place}[{i}]", depth + 1)


def _check_value(place: str, key: Any, value: Any) -> None:
    if type(value) not in LITERALS:
        raise ValueError(f"{place} is {value!r}; expected text, a number, true, false, null, a mapping or a list")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}; expected a finite number")
    if key in LEAST and not isinstance(value, list) and (not _is_kind(value, "int") or value < LEAST[key]):
        raise ValueError(f"{place} is {value!r}; expected a whole number, at least {LEAST[key]}")
    if key in SHARES and not (_is_kind(value, "float") and 0 < value < 1):
        raise ValueError(f"{place} is {value!r}; expected a number between 0 and 1")
    if key in NOT_NEGATIVE and not (_is_kind(value, "float") and value >= 0):
        raise ValueError(f"{place} is {value!r}; expected a number, at least 0")
    if key in NOT_EMPTY and value == []:
        raise ValueError(f"{place} is empty; expected at least one")
    if key == "seeds" and isinstance(value, list) and len(set(value)) < len(value):
        raise ValueError(f"{place} is {value}; expected each seed once")
    if key in CHOICES and value not in CHOICES[key]:
        raise ValueError(f"{place} is {value!r}; expected {' or '.join(CHOICES[key])}")
    if isinstance(value, dict):
        _check_mapping(place, str(key), value)


def _check_mapping(place: str, key: str, value: dict[str, Any]) -> None:
    """A network, a dataset with its options, or what a network is trained on."""
    if key in ("network", *ROWS):
        allowed = (*NETWORK_KEYS, *(ROW_KEYS if key in ROWS else ()))
        needed = ("model", "weights", *(("label",) if key in ROWS else ()))
        _check_keys(place, value, allowed, needed)
        for name in set(value) & {"label", "model", "weights", "paper_row", "class_row", "against", "preset"}:
            if not isinstance(value[name], str):
                raise ValueError(f"{place}.{name} is {value[name]!r}; expected str")
    if (key == "data" or key.endswith("_data")) and value and "dataset" not in value:
        raise ValueError(f"{place} has no 'dataset'; expected the name of one")
    if "dataset" in value:
        entry = datasets.get_source(value["dataset"])
        if "split" in value and value["split"] not in entry.splits:
            raise ValueError(f"{place}.split is {value['split']!r}; expected one of {', '.join(entry.splits)}")
        if key == "targets" and entry.protocol == "draws":
            entry = replace(entry, options={"per_class": 1, "test_per_class": None, **entry.options})
        check_options(place, entry, {name: part for name, part in value.items() if name not in ("dataset", "split")})
    if "trained_on" in value:
        entry = datasets.get_source(value["trained_on"])
        for name in ("train_options", "eval_options"):
            if not isinstance(value.get(name), dict):
                raise ValueError(f"{place}.{name} is {value.get(name)!r}; expected dict")
            check_options(f"{place}.{name}", entry, value[name])


def _check_rows(name: str, rows: list[dict[str, Any]], defaults: list[dict[str, Any]]) -> None:
    """Each row has what all the notebook's own rows have for its tables; the kinds of a network may be left out."""
    needed = {key for key in ROW_KEYS if defaults and all(key in row for row in defaults)}
    for i, row in enumerate(rows):
        if lacking := sorted(needed - set(row)):
            raise ValueError(f"{name}[{i}] lacks {', '.join(lacking)}; expected {', '.join(sorted(needed))}")


def _check_keys(place: str, value: dict[str, Any], allowed: tuple[str, ...], needed: tuple[str, ...]) -> None:
    for name in value:
        if name not in allowed:
            raise ValueError(f"{place} has the key {name!r}; expected {', '.join(allowed)}")
    if lacking := [name for name in needed if name not in value]:
        raise ValueError(f"{place} lacks {', '.join(lacking)}; expected {', '.join(needed)}")


def _check_together(whole: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """What one parameter says of another, where one of the two was given."""
    labels = [network["label"] for network in whole.get("networks", ())]
    for row in whole.get("backprop", ()):
        if row["against"] not in labels and {"backprop", "networks"} & set(given):
            raise ValueError(
                f"backprop.against is {row['against']!r}; expected a label of networks: {', '.join(labels)}"
            )
    if "networks" in given and len(set(labels)) < len(labels):
        raise ValueError(f"networks has the labels {', '.join(labels)}; expected each once")
    for name in set(LABELS) & set(whole):
        asked = [whole[name]] if isinstance(whole[name], str) else whole[name]
        for label in asked if {name, "networks"} & set(given) else ():
            if label and label not in labels:
                raise ValueError(f"{name} is {whole[name]!r}; expected labels of networks: {', '.join(labels)}")
    for settings in (whole, *whole.get("also", ())):
        images = 1 if settings.get("photo") else _count_images(settings.get("data"))
        for name in ("image", "heldout_images"):
            if images is not None and settings.get(name, 0) >= images:
                raise ValueError(
                    f"{name} is {settings[name]}; there are {images} images, expected at most {images - 1}"
                )


def _count_images(data: dict[str, Any] | None) -> int | None:
    """How many images a dataset's mapping is sure to have at most, or None."""
    if not data:
        return None
    return data.get("n") or datasets.get_source(data["dataset"]).images.get(data.get("split", ""))
