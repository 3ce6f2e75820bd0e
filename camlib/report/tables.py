"""Measured values as tables and as lines of a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

SHOWN = 12  # rows of a table that a page shows at once


def format_value(value: Mapping[str, Any]) -> str:
    """ "41.3 [38.0, 44.7]": a value with its 95 % interval, if it has one. A bare number (p, r) gets three decimals."""
    decimals = 1 if value["unit"] else 3
    text = f"{value['value']:.{decimals}f}"
    if value["interval"] is not None:
        text += f" [{value['interval'][0]:.{decimals}f}, {value['interval'][1]:.{decimals}f}]"
    return text


def pivot_values(values: Sequence[Mapping[str, Any]], rows: str = "model") -> pd.DataFrame:
    """Values as a table of texts: a row per model (rows="model") or per name, a column per name or per model.

    The paper's number, where there is one, has a column beside; what can't be compared stands in a column of its own,
    with the reason. Values on drawn data, or on a part of a dataset, say so in their column's name.
    Raises ValueError for two values of one name and model.
    """
    columns = "name" if rows == "model" else "model"
    cells: dict[str, dict[str, str]] = {}
    for value in values:
        unit = f", {value['unit']}" if value["unit"] and rows == "model" else ""
        kind = " (synthetic)" if value["synthetic"] else " (subset)" if value["subset"] else ""
        kind = "" if value["interval_kind"] == "counted" else kind  # of no data
        column = f"{value[columns] or 'value'}{unit}{kind}"
        row = cells.setdefault(value[rows] + (f", {value['unit']}" if rows == "name" and value["unit"] else ""), {})
        if column in row:
            raise ValueError(f"two values are called {value['name']}, {value['model']}; a table can't show both")
        row[column] = format_value(value)
        paper = value["paper"]
        if paper and paper["not_comparable"]:
            row[f"paper, not comparable: {value[columns] or 'value'}"] = f"{paper['text']} ({paper['not_comparable']})"
        elif paper:
            row[f"paper: {value[columns] or 'value'}"] = paper["text"]
    order = list(dict.fromkeys(column for row in cells.values() for column in row))
    return pd.DataFrame.from_dict(cells, orient="index", columns=order).fillna("")


def arrange_values(values: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`pivot_values` with a row per model, or per name where that would have more columns than rows."""
    table = pivot_values(values)
    return table if len(table.columns) <= len(table) else pivot_values(values, "name")


class FoldedTable:
    """A table of which a page shows the first rows, and the others when asked for them."""

    def __init__(self, table: pd.DataFrame, shown: int) -> None:
        self.table, self.shown = table, shown

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        first, rest = self.table[: self.shown], self.table[self.shown :]
        folded = f"<details><summary>{len(rest)} more rows</summary>{rest.to_html()}</details>" if len(rest) else ""
        return first.to_html() + folded


def fold_table(table: pd.DataFrame, shown: int = SHOWN) -> "pd.DataFrame | FoldedTable":
    """The table itself, or, if it has more rows than `shown`, folded after these."""
    return table if len(table) <= shown else FoldedTable(table, shown)


def as_plot_row(value: Mapping[str, Any]) -> dict[str, Any]:
    """A value as a line of `viz.plot_against_paper`."""
    low, high = value["interval"] or (None, None)
    paper = value["paper"] or {"value": None, "not_comparable": ""}
    label = ": ".join(filter(None, (value["model"], value["name"])))
    return {
        "label": label, "measured": value["value"], "low": low, "high": high, "paper": paper["value"],
        "comparable": not paper["not_comparable"], "synthetic": value["synthetic"],
    }  # fmt: skip


def list_runs(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per experiment: what it ran on, and how long."""
    return [
        {
            "experiment": record["title"],
            "data": "; ".join(dict.fromkeys(map(_name_data, record["datasets"]))),
            "images": sum(data["n"] for data in record["datasets"]),
            "seconds": record["wall_seconds"],
        }
        for record in records
    ]


def _name_data(data: Mapping[str, Any]) -> str:
    part = f", {data['n']:,} of {data['whole']:,} images" if data["whole"] else ""
    return data["name"] + (" (synthetic)" if data["synthetic"] else part)
