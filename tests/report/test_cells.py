"""A notebook's cells as parts of a page: what a reader sees, what is folded, what is left out, nothing that acts."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from camlib.report.cells import arrange_cells, encode_picture, front_pictures
from camlib.report.grids import Cell, read_grids
from camlib.report.tables import FoldedTable


def png(size=(30, 20), colour=(250, 0, 0)):
    kept = io.BytesIO()
    Image.new("RGB", size, colour).save(kept, "PNG")
    return base64.b64encode(kept.getvalue()).decode()


def sections_of(*cells):
    return arrange_cells(new_notebook(cells=list(cells)))[1]


def code(*outputs, tags=(), source="x"):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


def printed(text, name="stdout"):
    return new_output("stream", text=text, name=name)


def kinds(section):
    return [part.kind for part in section.parts]


def test_headings_make_sections_also_in_the_middle_of_a_cell_and_anchors_differ():
    cells = [
        new_markdown_cell("# Title\nIntro\n\n## One\ntext\n\n## Two's\n### Deep\nmore"),
        new_markdown_cell("## One"),
    ]
    title, sections = arrange_cells(new_notebook(cells=cells))
    assert title == "Title"
    assert [section.title for section in sections] == ["", "One", "Two's", "One"]
    assert [section.anchor for section in sections] == ["start", "one", "twos", "one-3"]
    assert [kinds(section) for section in sections] == [["prose"], ["prose"], ["heading", "prose"], []]
    assert [section.is_bare for section in sections] == [False, False, False, True]


def test_code_without_output_is_one_fold_and_a_heading_over_nothing_else_is_bare():
    (_, run, table) = sections_of(
        new_markdown_cell("## Run"),
        code(),
        code(printed("", "stdout")),
        new_markdown_cell("## Table"),
        code(printed("n")),
    )
    assert (kinds(run), run.is_bare) == (["code"], True)
    assert len(run.parts[0].content) == 2
    assert (kinds(table), table.is_bare) == (["code", "lines"], False)


@pytest.mark.parametrize(
    ("output", "tags", "heading", "shown"),
    [
        (printed("one\n two \n"), [], "What it says", ["one", "two"]),
        (printed("6 maps\n"), ["nbval-check-output"], "What it says", None),
        (printed("350 images\n"), ["nbval-check-output"], "The paper's numbers", ["350 images"]),
        (printed("5 %", "stderr"), [], "Run", None),
        (new_output("execute_result", {"text/plain": "PosixPath('a.json')"}), [], "Run", None),
        (new_output("error", ename="ValueError", evalue="no"), [], "Run", ["ValueError: no"]),
    ],
)
def test_what_is_printed_is_shown_as_lines_unless_only_nbval_or_python_reads_it(output, tags, heading, shown):
    section = sections_of(new_markdown_cell(f"## {heading}"), code(output, tags=tags))[1]
    lines = [part.content for part in section.parts if part.kind == "lines"]
    assert lines == ([] if shown is None else [shown])
    folded = section.parts[0].content[0]["printed"]
    assert bool(folded) == (shown is None and output.get("name") != "stderr"), "it is kept beside the code"


def test_a_picture_is_described_by_the_sentence_before_it_and_by_itself():
    def words(data, metadata=()):
        output = new_output("display_data", {"image/png": png(), **data}, metadata=dict(metadata))
        section = sections_of(new_markdown_cell("Where *it* looks. More."), code(output))[0]
        return section.parts[-1].kind, (section.parts[-1].content)

    kind, picture = words({"text/plain": "<Figure size 1x1 with 5 Axes>"})
    assert (kind, picture["words"]) == ("figure", "Where it looks.")
    assert (picture["width"], picture["height"]) == (30, 20)
    _, picture = words({"text/plain": "Curves. Axes: a against b"}, {"image/png": {"width": 15, "height": 10}})
    assert (picture["words"], picture["width"], picture["height"]) == (
        "Where it looks. Curves. Axes: a against b",
        15,
        10,
    )
    kind, (picture,) = words({}, {"image/png": {"alt": "a cat"}})
    assert (kind, picture["words"]) == ("strip", "a cat")


def test_the_front_page_takes_the_pictures_of_tagged_cells_in_their_order():
    def shown(alt, tags):
        output = new_output("display_data", {"image/png": png()}, metadata={"image/png": {"alt": alt}})
        return code(output, tags=tags)

    notebook = new_notebook(cells=[shown("a", []), shown("b", ["front-page"]), shown("c", ["front-page"])])
    assert [picture["words"] for picture in front_pictures(notebook)] == ["b", "c"]


def test_a_picture_keeps_its_colours_and_is_at_most_so_wide():
    address = encode_picture(Image.new("RGB", (100, 40), (10, 200, 30)), widest=50)
    with Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2]))) as again:
        assert (again.format, again.size) == ("WEBP", (50, 20))
        assert np.abs(np.asarray(again.convert("RGB"), float) - [10, 200, 30]).max() < 6


@pytest.mark.parametrize("tag", ["script", "meta", "base", "iframe", "STYLE"])
def test_prose_holds_nothing_that_acts(tag):
    section = sections_of(new_markdown_cell(f"before\n\n<{tag} a='b'>x</{tag}>\n\nafter"))[0]
    assert f"<{tag}" not in section.parts[0].content


def test_the_html_of_an_output_gives_its_tables_texts_and_nothing_else():
    html = "<b>bold</b><script>1</script><table><thead><tr><th></th><th>a</th></tr></thead>"
    html += "<tbody><tr><th>r</th><td><img src=x onerror=y>&lt;i&gt; 3</td></tr></tbody></table>"
    (grid,) = read_grids(html)
    assert grid.rows == [[Cell("r"), Cell("<i> 3")]]
    section = sections_of(code(new_output("display_data", {"text/html": "<script>1</script>"})))[0]
    assert section.parts[0].content[0]["printed"] == ["not shown here: text/html"]
    assert kinds(section) == ["code"]


# ---------------------------------------------------------------------------------------------------- tables


def test_pandas_tables_come_back_as_they_were():
    table = pd.DataFrame(
        {"error, % (synthetic)": ["5.7 [4.0, 7.5]", "12.0"], "n (synthetic)": ["7", ""]}, ["GAP", "GMP"]
    )
    (grid,) = read_grids(table.to_html())
    assert (grid.columns, grid.labels, grid.synthetic) == (["", "error, %", "n"], 1, True)
    assert grid.rows[0] == [Cell("GAP"), Cell("5.7", "[4.0, 7.5]"), Cell("7")]
    assert grid.numeric == [False, True, True]


def test_one_column_of_words_is_no_column_of_numbers_and_one_on_photographs_not_all_drawn():
    table = pd.DataFrame({"a (synthetic)": ["1", "2"], "b": ["35.0 (another network)", "1"]}, ["x", "y"])
    (grid,) = read_grids(table.to_html())
    assert (grid.numeric, grid.synthetic) == ([False, True, False], False)
    assert grid.columns[1] == "a (synthetic)"


def test_a_count_of_rows_is_no_column():
    (grid,) = read_grids(pd.DataFrame({"a": ["x", "y"]}).to_html())
    assert (grid.columns, grid.labels, grid.rows) == (["a"], 0, [[Cell("x")], [Cell("y")]])
    (grid,) = read_grids(pd.DataFrame({"a": ["x", "y"]}, index=[3, 4]).to_html())
    assert grid.labels == 1


def test_levels_of_rows_and_columns_are_written_out():
    index = pd.MultiIndex.from_tuples(
        [("room", "wall"), ("room", "chair"), ("hall", "lamp")], names=["scene", "object"]
    )
    (grid,) = read_grids(pd.DataFrame({("paper", "x"): [1, 2, 3], ("paper", "y"): [4, 5, 6]}, index).to_html())
    assert grid.columns == ["scene", "object", "paper: x", "paper: y"]
    assert [[cell.text for cell in row[:2]] for row in grid.rows] == [
        ["room", "wall"],
        ["room", "chair"],
        ["hall", "lamp"],
    ]


def test_a_folded_table_is_one_table_of_all_rows_of_which_eight_show():
    table = pd.DataFrame({"a": range(20)}, [f"r{i}" for i in range(20)])
    (grid,) = read_grids(FoldedTable(table, 12)._repr_html_())
    assert [row[0].text for row in grid.rows] == [f"r{i}" for i in range(20)]
    assert grid.more == 12
