"""What goes into a results file and what comes out: a notebook's parameters, the files of a report, their fields."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = 3  # 2 had no claims
LITERALS = (str, int, float, bool, type(None), list, dict)
NUMBER = (int, float)
# Field -> what it may hold. What is not listed is not needed to show a result.
RECORD: dict[str, tuple[type, ...]] = {
    "notebook": (str,), "title": (str,), "claim": (str,), "headline": (str,), "verdict": (str,), "values": (list,),
    "comparisons": (list,), "claims": (list,), "datasets": (list,), "networks": (dict,), "seed": (int, type(None)),
    "device": (str,), "git_commit": (str,), "claims_commit": (str,), "claims_changed": (bool,), "wall_seconds": NUMBER,
}  # fmt: skip
VALUE: dict[str, tuple[type, ...]] = {
    "name": (str,), "model": (str,), "value": NUMBER, "unit": (str,), "n": (int,), "interval": (list, type(None)),
    "interval_kind": (str, type(None)), "paper": (dict, type(None)), "dataset": (str,), "synthetic": (bool,),
    "subset": (bool,),
}  # fmt: skip
DATASET: dict[str, tuple[type, ...]] = {
    "name": (str,), "split": (str,), "n": (int,), "classes": (int,), "source": (str,), "synthetic": (bool,),
    "whole": (int, type(None)),
}  # fmt: skip
CLAIM: dict[str, tuple[type, ...]] = {
    "claim": (str,), "registered": (dict,), "estimate": NUMBER, "interval": (list,), "unit": (str,), "p": NUMBER,
    "p_other": NUMBER, "n": (int,), "seeds": (int,), "dataset": (str,), "synthetic": (bool,),
}  # fmt: skip
PAPER: dict[str, tuple[type, ...]] = {"text": (str,), "value": NUMBER, "not_comparable": (str,)}


def parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook's parameters: the literals that were assigned so far, by name.

    namespace: the notebook's `globals()`, called before anything else is assigned.
    """
    jupyter = ("In", "Out")
    return {
        name: value
        for name, value in namespace.items()
        if isinstance(value, LITERALS) and not name.startswith("_") and name not in jupyter
    }


def read_results(report_dir: str | Path) -> list[dict[str, Any]]:
    """Every results file of a report, in the notebooks' order; a broken file raises ValueError with its path."""
    records = []
    for path in sorted(Path(report_dir).glob("[0-9]*.json")):
        try:
            record = parse_record(path.read_text(encoding="utf-8"))
            if record["notebook"] != path.stem:
                raise ValueError(f"it holds the results of {record['notebook']}")
        except ValueError as error:
            raise ValueError(f"{path} is not a whole results file: {error}") from error
        records.append(record)
    return records


def parse_record(text: str) -> dict[str, Any]:
    """A results file's text as a record. Raises ValueError that says which field is missing or holds what."""
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("its lists are too deep") from error
    if not isinstance(record, dict):
        raise ValueError(f"it holds {type(record).__name__}, expected an object")
    if record.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {record.get('schema')}, expected {SCHEMA}: run the notebook again")
    _check_fields(record, RECORD, "")
    for kind, fields in (("values", VALUE), ("claims", CLAIM), ("datasets", DATASET)):
        for i, part in enumerate(record[kind]):
            _check_fields(part, fields, f"{kind}[{i}].")
            ends = part.get("interval")
            if ends is not None and not (len(ends) == 2 and all(_is_finite(end) for end in ends)):
                raise ValueError(f"{kind}[{i}].interval is {ends!r}, expected two numbers or null")
    for i, value in enumerate(record["values"]):
        if value["paper"] is not None:
            _check_fields(value["paper"], PAPER, f"values[{i}].paper.")
    if not record["datasets"]:
        raise ValueError("datasets is empty, expected at least one")
    return record


def _refuse_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, expected finite numbers")


def _is_finite(value: Any) -> bool:
    return isinstance(value, NUMBER) and not isinstance(value, bool) and math.isfinite(value)


def _check_fields(part: Any, fields: dict[str, tuple[type, ...]], place: str) -> None:
    if not isinstance(part, dict):
        raise ValueError(f"{place.rstrip('.')} is {part!r}, expected an object")
    for name, kinds in fields.items():
        if name not in part:
            raise ValueError(f"{place}{name} is missing")
        value = part[name]
        good = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not good or (isinstance(value, float) and not math.isfinite(value)):
            expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise ValueError(f"{place}{name} is {value!r}, expected {expected}")
