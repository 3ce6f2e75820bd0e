"""Tables that pandas wrote as HTML, read back as texts, so that a page writes its own markup around them."""

import re
from typing import NamedTuple

from bs4 import BeautifulSoup, Tag

SHOWN = 8  # rows of a table that a page shows at once
SYNTHETIC = " (synthetic)"
NUMBER = re.compile(r"[-+−]?[\d.,]+(e[-+]?\d+)?( ?%| points)?( ?\[[^\]]*\])?")


class Cell(NamedTuple):
    """One field: its text, and an interval in brackets behind it."""

    text: str
    interval: str = ""


class Grid(NamedTuple):
    """A table: columns' names (the first `labels` of them name rows), rows of cells, which columns hold numbers."""

    columns: list[str]
    labels: int
    rows: list[list[Cell]]
    numeric: list[bool]
    synthetic: bool  # every column of values is about drawn data; their names do not repeat it

    @property
    def more(self) -> int:
        """How many rows are folded."""
        return max(len(self.rows) - SHOWN, 0)


def read_grids(html: str) -> list[Grid]:
    """The tables of an output; those with the same columns in a row are one. Nothing else of the HTML is kept."""
    grids: list[Grid] = []
    for table in BeautifulSoup(html, "html.parser").find_all("table"):
        header, body = _read_rows(table, "thead"), _read_rows(table, "tbody")
        labels = max((_count_labels(row) for row in table.select("tbody tr")), default=1)
        if not header or not body:
            continue
        made = make_grid(_join_headers(header, labels), labels, body)
        if grids and (grids[-1].columns, grids[-1].labels) == (made.columns, made.labels):
            made = made._replace(rows=grids.pop().rows + made.rows)
        grids.append(made)
    return grids


def make_grid(columns: list[str], labels: int, rows: list[list[str]]) -> Grid:
    """Texts as a grid. A column of labels that only counts the rows is dropped."""
    if labels == 1 and not columns[0] and [row[0] for row in rows] == [str(i) for i in range(len(rows))]:
        columns, rows, labels = columns[1:], [row[1:] for row in rows], 0
    values = columns[labels:]
    synthetic = bool(values) and all(name.endswith(SYNTHETIC) for name in values)
    if synthetic:
        columns = columns[:labels] + [name.removesuffix(SYNTHETIC) for name in values]
    numeric = [
        i >= labels and any(row[i] for row in rows) and all(NUMBER.fullmatch(row[i]) for row in rows if row[i])
        for i in range(len(columns))
    ]
    cells = [[_split_interval(text) if numeric[i] else Cell(text) for i, text in enumerate(row)] for row in rows]
    return Grid(columns, labels, cells, numeric, synthetic)


def _count_labels(row: Tag) -> int:
    return len(row.find_all("th"))


def _read_rows(table: Tag, part: str) -> list[list[str]]:
    """Texts of all rows of a table's part; what spans several rows or columns stands in each of them."""
    rows: list[list[str]] = []
    spanning: dict[int, tuple[int, str]] = {}  # column -> rows that it still spans, text
    for row in table.select(f"{part} tr"):
        texts: list[str] = []
        waiting = row.find_all(["th", "td"])
        while waiting or len(texts) in spanning:
            place = len(texts)
            if place in spanning:
                left, text = spanning.pop(place)
                if left > 1:
                    spanning[place] = left - 1, text
                texts.append(text)
                continue
            cell = waiting.pop(0)
            text, down, across = cell.get_text(" ", strip=True), _span(cell, "rowspan"), _span(cell, "colspan")
            for _ in range(across):
                if down > 1:
                    spanning[len(texts)] = down - 1, text
                texts.append(text)
        rows.append(texts)
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def _span(cell: Tag, name: str) -> int:
    text = str(cell.get(name, "1"))
    return min(int(text), 1000) if text.isdigit() and int(text) else 1


def _join_headers(header: list[list[str]], labels: int) -> list[str]:
    """One name per column: pandas writes the names of levels, and of what names the rows, in rows of their own."""
    names = [list(dict.fromkeys(filter(None, column))) for column in zip(*header, strict=True)]
    if len(header) > 1:
        names[:labels] = [column[-1:] for column in names[:labels]]
    return [": ".join(column) for column in names]


def _split_interval(text: str) -> Cell:
    value, bracket, rest = text.partition(" [")
    return Cell(value, bracket.strip() + rest)
