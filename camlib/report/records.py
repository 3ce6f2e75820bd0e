"""What goes into a results file and what comes out: a notebook's parameters, the files of a report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA = 3  # 2 had no claims
LITERALS = (str, int, float, bool, type(None), list, dict)


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
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("schema") != SCHEMA:
                raise ValueError(f"its schema is {record.get('schema')}, expected {SCHEMA}: run the notebook again")
            record["notebook"], record["headline"], record["values"], record["datasets"], record["claims"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a whole results file: {error!r}") from error
        records.append(record)
    return records
