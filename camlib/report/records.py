"""A results file as it must be to be shown: its fields, their kinds, finite numbers."""

import json
import math
from typing import Any

NUMBER = (int, float)
# Field -> what it may hold. What is not listed is not needed to show a result.
RECORD: dict[str, tuple[type, ...]] = {
    "notebook": (str,), "title": (str,), "claim": (str,), "headline": (str,), "verdict": (str,), "values": (list,),
    "comparisons": (list,), "datasets": (list,), "networks": (dict,), "seed": (int, type(None)), "device": (str,),
    "git_commit": (str,), "wall_seconds": NUMBER,
}  # fmt: skip
VALUE: dict[str, tuple[type, ...]] = {
    "name": (str,), "model": (str,), "value": NUMBER, "unit": (str,), "n": (int,), "interval": (list, type(None)),
    "paper": (dict, type(None)), "dataset": (str,), "synthetic": (bool,), "subset": (bool,),
}  # fmt: skip
DATASET: dict[str, tuple[type, ...]] = {
    "name": (str,), "split": (str,), "n": (int,), "classes": (int,), "source": (str,), "synthetic": (bool,),
    "whole": (int, type(None)),
}  # fmt: skip
PAPER: dict[str, tuple[type, ...]] = {"text": (str,), "value": NUMBER, "not_comparable": (str,)}


def parse_record(text: str, schema: int) -> dict[str, Any]:
    """A results file's text as a record. Raises ValueError that says which field is missing or holds what."""
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("its lists are too deep") from error
    if not isinstance(record, dict):
        raise ValueError(f"it holds {type(record).__name__}, expected an object")
    if record.get("schema") != schema:
        raise ValueError(f"its schema is {record.get('schema')}, expected {schema}: run the notebook again")
    _check_fields(record, RECORD, "")
    for kind, fields in (("values", VALUE), ("datasets", DATASET)):
        for i, part in enumerate(record[kind]):
            _check_fields(part, fields, f"{kind}[{i}].")
    for i, value in enumerate(record["values"]):
        if value["paper"] is not None:
            _check_fields(value["paper"], PAPER, f"values[{i}].paper.")
        ends = value["interval"]
        if ends is not None and not (len(ends) == 2 and all(_is_finite(end) for end in ends)):
            raise ValueError(f"values[{i}].interval is {ends!r}, expected two numbers or null")
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
