"""The published numbers: spot values typed again, relations between the tables, look-ups that refuse."""

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from camlib.report import paper
from camlib.report.paper import Number, format_number, lookup, table


# Typed again from the notes, at least one a table and every one that has a mark of its own.
@pytest.mark.parametrize(
    ("where", "text", "unit"),
    [
        (("Table 1", "GoogLeNet-GAP", "top-1"), "35.0", "%"),
        (("Table 1", "NIN", "top-5"), "19.6", "%"),
        (("Table 2", "GoogLeNet-GAP", "top-1"), "56.40", "%"),
        (("Table 2", "GoogLeNet-GAP", "top-5"), "43.00", "%"),
        (("Table 2", "AlexNet*-GAP", "top-5"), "49.53", "%"),
        (("Table 2", "Backprop on VGGnet", "top-1"), "61.12", "%"),
        (("Table 3", "GoogLeNet-GAP (heuristics)", "top-5"), "37.1", "%"),
        (("Table 3", "AlexNet (fully supervised)", "top-5"), "34.2", "%"),
        (("Table 4", "GoogLeNet-GAP on ground-truth box", "accuracy"), "70.5", "%"),
        (("Table 5", "GAP of GoogLeNet-GAP", "Action40"), "70.62", "%"),
        (("Table 5", "average pool of GoogLeNet", "Event8"), "95.42", "%"),
        (("Section 4", "GoogLeNet-GAP", "CUB-200-2011 localization"), "41.0", "%"),
        (("Section 4", "GoogLeNet-GAP", "VQA open-ended accuracy"), "55.89", "%"),
        (("Section 4", "Scene objects", "annotated scenes"), "4,675", "images"),
        (("Figure 9", "dining room, frequent", "window"), "0.73", "fraction"),
        (("Figure 9", "dining room, informative", "chandelier"), "0.80", "fraction"),
        (("Figure 9", "bathroom, frequent", "sink"), "0.77", "fraction"),
        (("Figure 9", "bathroom, informative", "sink"), "0.84", "fraction"),
    ],
)
def test_spot_values(where, text, unit):
    number = lookup(*where)
    assert (number.table, number.row, number.column) == where
    assert format_number(number) == text
    assert number.unit == unit


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("Table 1", 9 * 2),
        ("Table 2", 10 * 2),
        ("Table 3", 6),
        ("Table 4", 8),
        ("Table 5", 3 * 8),
        ("Section 4", 5),
        ("Section 3", 1),
        ("Figure 9", 4 * 6),
    ],
)
def test_tables_are_whole(name, cells):
    numbers = table(name)
    assert len(numbers) == cells
    assert {n.table for n in numbers} == {name}
    assert all(lookup(name, n.row, n.column) == n for n in numbers)


def test_no_table_is_left_out():
    assert sum(len(table(name)) for name in dict.fromkeys(key[0] for key in paper.NUMBERS)) == 106 == len(paper.NUMBERS)


@pytest.mark.parametrize("name", ["Table 1", "Table 2"])
def test_five_guesses_are_never_worse_than_one(name):
    for row in dict.fromkeys(n.row for n in table(name)):
        assert lookup(name, row, "top-5").value < lookup(name, row, "top-1").value


def test_localizing_is_harder_than_classifying():
    # Two tables, one validation set: a right box needs a right class. A slip between the tables would show here.
    both = {n.row for n in table("Table 1")} & {n.row for n in table("Table 2")}
    assert len(both) == 7
    for row in both:
        for column in ("top-1", "top-5"):
            assert lookup("Table 2", row, column).value > lookup("Table 1", row, column).value


def test_claims_that_the_numbers_carry():
    best = min(table("Table 2"), key=lambda n: n.value if n.column == "top-5" else 100)
    assert best.row == "GoogLeNet-GAP"
    for column in ("top-1", "top-5"):  # average pooling localizes better than max pooling
        assert lookup("Table 2", "GoogLeNet-GAP", column).value < lookup("Table 2", "GoogLeNet-GMP", column).value


def test_an_informative_object_is_counted_among_the_images_that_hold_it():
    """The share of Figure 9 exceeds how often the sink is there at all: it is conditional on the object."""
    for object_ in ("sink", "faucet"):
        frequent, informative = (lookup("Figure 9", f"bathroom, {k}", object_) for k in ("frequent", "informative"))
        assert informative.value > frequent.value


def test_the_doubtful_numbers_say_why():
    noted = [(n.row, n.column) for n in paper.NUMBERS.values() if n.note]
    assert noted == [("fc7 of AlexNet", "SUN Attribute"), ("dining room, frequent", "window")]
    assert "Scene15" in lookup("Table 5", "fc7 of AlexNet", "SUN Attribute").note


@pytest.mark.parametrize(
    ("where", "named"),
    [
        (("Table 9", "GoogLeNet", "top-1"), "'Section 4', 'Figure 9'"),
        (("Table 3", "NIN", "top-5"), "'OverFeat (fully supervised)'"),
        (("Table 2", "NIN", "top 1"), "'top-1', 'top-5'"),
    ],
)
def test_unknown_number_lists_what_exists(where, named):
    with pytest.raises(KeyError) as error:
        lookup(*where)
    assert named in error.value.args[0]


def test_unknown_table_lists_what_exists():
    with pytest.raises(KeyError, match="'Table 1', 'Table 2'"):
        table("Table 6")


def test_numbers_cannot_be_changed():
    number = lookup("Table 1", "NIN", "top-1")
    with pytest.raises(FrozenInstanceError):
        number.value = 0.0  # type: ignore[misc]
    assert format_number(Number("Table 1", "NIN", "top-1", 7.0, "%")) == "7.00"


def test_import_is_light():
    code = "import sys, camlib.report.paper; sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
