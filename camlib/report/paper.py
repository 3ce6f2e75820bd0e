"""The numbers that the paper printed (Zhou et al., CVPR 2016, arXiv 1512.04150, Section 4), as data with their place.

All were checked against the published text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from camlib.datasets.base import Dataset


@dataclass(frozen=True)
class Number:
    """One published number. margin: a measurement this near replicates it. note: what else to know."""

    table: str  # "Table 1".."Table 5", "Figure 9", or "Section 3" and "Section 4" for what stands in the text
    row: str
    column: str
    value: float
    unit: str  # "%", "images" or "fraction"
    decimals: int = 2  # as printed
    note: str = ""
    margin: float = 2.0  # in the unit
    not_run: str = ""  # why nothing here measures it


def _read(table: str, columns: str, text: str, unit: str = "%") -> list[Number]:
    """Numbers of a table written as lines `row: cell cell ...`; a cell `-` is one that the paper does not have."""
    numbers = []
    for line in text.strip().splitlines():
        row, _, cells = line.strip().rpartition(":")
        for column, cell in zip(columns.split(" | "), cells.split(), strict=True):
            if cell != "-":
                decimals = len(cell.partition(".")[2])
                margin = 0.05 if unit == "fraction" else 2.0
                numbers.append(Number(table, row, column, float(cell), unit, decimals, margin=margin))
    return numbers


# Table 1: classification error on the ILSVRC validation set.
_TABLE_1 = _read("Table 1", "top-1 | top-5", """
    VGGnet-GAP: 33.4 12.2
    GoogLeNet-GAP: 35.0 13.2
    AlexNet*-GAP: 44.9 20.9
    AlexNet-GAP: 51.1 26.3
    GoogLeNet: 31.9 11.3
    VGGnet: 31.2 11.4
    AlexNet: 42.6 19.5
    NIN: 41.9 19.6
    GoogLeNet-GMP: 35.6 13.9
""")  # fmt: skip

# Table 2: localization error on the ILSVRC validation set.
_TABLE_2 = _read("Table 2", "top-1 | top-5", """
    GoogLeNet-GAP: 56.40 43.00
    VGGnet-GAP: 57.20 45.14
    GoogLeNet: 60.09 49.34
    AlexNet*-GAP: 63.75 49.53
    AlexNet-GAP: 67.19 52.16
    NIN: 65.47 54.19
    Backprop on GoogLeNet: 61.31 50.55
    Backprop on VGGnet: 61.12 51.46
    Backprop on AlexNet: 65.17 52.64
    GoogLeNet-GMP: 57.78 45.26
""")  # fmt: skip

# Table 3: localization error on the ILSVRC test set; the last three were trained with boxes.
_TABLE_3 = _read("Table 3", "top-5", """
    GoogLeNet-GAP (heuristics): 37.1
    GoogLeNet-GAP: 42.9
    Backprop: 46.4
    GoogLeNet (fully supervised): 26.7
    OverFeat (fully supervised): 29.9
    AlexNet (fully supervised): 34.2
""")  # fmt: skip

# Table 4: classification accuracy on CUB-200-2011; in brackets what else was given.
_TABLE_4 = _read("Table 4", "accuracy", """
    GoogLeNet-GAP on full image: 63.0
    GoogLeNet-GAP on crop: 67.8
    GoogLeNet-GAP on ground-truth box: 70.5
    Alignments: 53.6
    Alignments (box): 67.0
    DPD (box+parts): 51.0
    DeCAF+DPD (box+parts): 65.0
    PANDA R-CNN (box+parts): 76.4
""")  # fmt: skip

# Table 5: accuracy of a linear SVM on features.
_TABLE_5 = _read(
    "Table 5", "SUN397 | Indoor67 | Scene15 | SUN Attribute | Caltech101 | Caltech256 | Action40 | Event8", """
    fc7 of AlexNet:             42.61 56.79 84.23 84.23 87.22 67.23 54.92 94.42
    average pool of GoogLeNet:  51.68 66.63 88.02 92.85 92.05 78.99 72.03 95.42
    GAP of GoogLeNet-GAP:       51.31 66.61 88.30 92.21 91.98 78.07 70.62 95.00
""")  # fmt: skip

# Section 4, outside the tables: birds found at IoU >= 0.5 by the net trained on full images, open-ended answers
# (bag of words + GoogLeNet-GAP features, test-standard), sizes of the scene-object and text experiments.
_SECTION_4 = [
    *_read("Section 4", "CUB-200-2011 localization", "GoogLeNet-GAP: 41.0\nchance: 5.5"),
    *_read("Section 4", "VQA open-ended accuracy", "GoogLeNet-GAP: 55.89"),
    *_read("Section 4", "annotated scenes", "Scene objects: 4675", unit="images"),
    *_read("Section 4", "positives", "Text detector: 350", unit="images"),
]

# Figure 9: objects of two of the ten scenes, as shares of the scene's images. Frequent: of the images that hold the
# object. Informative: of the images with the object, those where it overlaps with a high region of the scene's map.
_FIGURE_9 = [
    *_read("Figure 9", "wall | chair | floor | table | ceiling | window", unit="fraction", text="""
        dining room, frequent: .99 .98 .98 .98 .75 .73"""),
    *_read("Figure 9", "table | chair | chandelier | plate | vase | flowers", unit="fraction", text="""
        dining room, informative: .96 .85 .80 .73 .69 .63"""),
    *_read("Figure 9", "wall | floor | sink | faucet | mirror | bathtub", unit="fraction", text="""
        bathroom, frequent: 1 .85 .77 .74 .62 .56"""),
    *_read("Figure 9", "sink | faucet | countertop | toilet | bathtub | towel", unit="fraction", text="""
        bathroom, informative: .84 .80 .80 .72 .70 .54"""),
]  # fmt: skip

# Section 3.1, outside the tables.
_SECTION_3 = _read("Section 3", "fewer parameters than the classifier", "VGGnet-GAP: 90")

_NOTES = {
    ("Figure 9", "dining room, frequent", "window"): "printed as 73, without the point",
    (
        "Table 5",
        "fc7 of AlexNet",
        "SUN Attribute",
    ): "as printed; it repeats Scene15's cell, probably a slip of the paper",
}


def _say_why(number: Number) -> str:
    """Why nothing here measures a number, or ""."""
    if number.table == "Table 4" and not number.row.startswith("GoogLeNet-GAP"):
        return "another paper's method"
    if number.table == "Table 3" and "fully supervised" in number.row:
        return "a network trained with boxes by others"
    if number.column == "VQA open-ended accuracy":
        return "no VQA network is trained here"
    return "the paper's figure, not measured" if number.row == "chance" else ""


NUMBERS: dict[tuple[str, str, str], Number] = {
    (n.table, n.row, n.column): replace(n, note=_NOTES.get((n.table, n.row, n.column), ""), not_run=_say_why(n))
    for n in [*_TABLE_1, *_TABLE_2, *_TABLE_3, *_TABLE_4, *_TABLE_5, *_SECTION_3, *_SECTION_4, *_FIGURE_9]
}


# What the tables measure: dataset by table, in Table 5 by column.
DATASETS = {
    "Table 1": "ilsvrc2012",
    "Table 2": "ilsvrc2012",
    "Table 4": "cub200",
    "CUB-200-2011 localization": "cub200",
    "Figure 9": "sun2012",
}
DATASETS |= {
    "SUN397": "sun397", "Indoor67": "indoor67", "Scene15": "scene15", "SUN Attribute": "sun-attribute",
    "Caltech101": "caltech101", "Caltech256": "caltech256", "Action40": "action40", "Event8": "event8",
}  # fmt: skip


def describe_difference(number: Number, data: "Dataset", other_network: bool) -> str:
    """Why a measurement can't be compared with a published number: "another network; 500 of 50,000 images", or ""."""
    same_data = data.name == DATASETS.get(number.table, DATASETS.get(number.column))
    reasons = ["synthetic data"] if data.synthetic else [] if same_data else [f"another dataset: {data.name}"]
    if number.table == "Section 3":
        return ""  # parameters are counted, on no data
    if number.table == "Table 3":
        reasons = ["synthetic data"] * data.synthetic + ["the paper's is on the test set"]
    if "whole" in data.info:
        reasons.append(f"{len(data):,} of {data.info['whole']:,} images")
    if "whole_classes" in data.info:
        reasons.append(f"{len(data.classes)} of {data.info['whole_classes']} classes")
    return "; ".join(reasons + ["another network"] * other_network)


def cite_number(number: Number, data: "Dataset", other_network: bool) -> dict[str, Any]:
    """A published number beside a measurement, as results files keep it, with why it can't be compared."""
    where = {"table": number.table, "row": number.row, "column": number.column}
    why = describe_difference(number, data, other_network)
    return {"text": format_number(number), "value": number.value, **where, "not_comparable": why}


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in dict.fromkeys(names))


def table(name: str) -> list[Number]:
    """The numbers of a table, of "Section 4" or "Figure 9", in the paper's order; KeyError naming those that exist."""
    found = [n for n in NUMBERS.values() if n.table == name]
    if not found:
        raise KeyError(f"no {name!r}; there are {_names(n.table for n in NUMBERS.values())}")
    return found


def lookup(table_name: str, row: str, column: str) -> Number:
    """One published number, e.g. lookup("Table 2", "GoogLeNet-GAP", "top-1"); KeyError listing what exists."""
    numbers = table(table_name)
    in_row = [n for n in numbers if n.row == row]
    if not in_row:
        raise KeyError(f"{table_name} has no row {row!r}; it has {_names(n.row for n in numbers)}")
    for number in in_row:
        if number.column == column:
            return number
    raise KeyError(f"{table_name}, {row} has no column {column!r}; it has {_names(n.column for n in in_row)}")


def format_number(number: Number) -> str:
    """The number as printed: "56.40"; the unit is left to the column's heading."""
    return f"{number.value:,.{number.decimals}f}"


def count_numbers() -> "pd.DataFrame":
    """How many numbers of each table are held."""
    import pandas as pd

    held = pd.DataFrame([n.table for n in NUMBERS.values()], columns=["table"])
    return held.groupby("table").size().to_frame("numbers")


def show_tables(*names: str) -> "pd.DataFrame":
    """Tables of the paper as one: a row per network or method, a column per table and column."""
    import pandas as pd

    numbers = [number for name in names for number in table(name)]
    cells: dict[str, dict[str, str]] = {}
    for n in numbers:
        cells.setdefault(n.row, {})[f"{n.table}, {n.column}"] = format_number(n)
    columns = list(dict.fromkeys(f"{n.table}, {n.column}" for n in numbers))
    return pd.DataFrame.from_dict(cells, orient="index", columns=columns).fillna("")
