"""Results files: each field that a page shows is checked, and named where it is wrong; what can't act on a page."""

import json
import re
import shutil

import numpy as np
import pytest
from builders import dataset_of, make_notebook
from nbformat.v4 import new_output

from camlib.report import pages, records
from camlib.report.claims import CLAIMS
from camlib.report.records import SCHEMA
from camlib.report.results import Experiment
from camlib.stats import measure_effect


@pytest.fixture
def report(tmp_path):
    """A report with the results of 01_x and the plan of its notebook."""
    exp = Experiment("01_x", {"seed": 7}, tmp_path)
    exp.uses(dataset_of(np.zeros((8, 4, 4, 3), np.uint8), [0, 1] * 4, synthetic=True))
    exp.add("top-1 localization error", np.repeat([True, False], 4), model="GAP", paper=("Table 2", "NIN", "top-1"))
    exp.notebook = CLAIMS["bias_zero"].notebook
    exp.decide("bias_zero", measure_effect([1.0, 2.0, 4.0]), n=3)
    exp.notebook = "01_x"
    exp.write(title="T", claim="C", headline="H")
    (tmp_path / "01_x.params.yml").write_text("profile: mini\nparameters: {}\nnot_run: []\n")
    return tmp_path


def edit(report, change):
    path = report / "01_x.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r.pop("verdict"), "verdict is missing"),
        (lambda r: r.pop("wall_seconds"), "wall_seconds is missing"),
        (lambda r: r.update(schema=1), f"its schema is 1, expected {SCHEMA}"),
        (lambda r: r.update(git_commit=None), "git_commit is None, expected str"),
        (lambda r: r.update(wall_seconds="9"), "wall_seconds is '9', expected int or float"),
        (lambda r: r.update(datasets=[]), "datasets is empty"),
        (lambda r: r.update(notebook="02_y"), "it holds the results of 02_y"),
        (lambda r: r["datasets"][0].pop("n"), r"datasets[0].n is missing"),
        (lambda r: r["values"].append(3), "values[1] is 3, expected an object"),
        (lambda r: r["values"][0].pop("paper"), "values[0].paper is missing"),
        (lambda r: r["values"][0].update(value="50.0"), "values[0].value is '50.0', expected int or float"),
        (lambda r: r["values"][0].update(value=float("nan")), "it holds NaN, expected finite numbers"),
        (lambda r: r["values"][0].update(value=float("-inf")), "it holds -Infinity"),
        (lambda r: r["values"][0].update(value=True), "values[0].value is True"),
        (lambda r: r["values"][0].update(interval=[1]), "values[0].interval is [1], expected two numbers"),
        (lambda r: r["values"][0].update(interval=[1, None]), "values[0].interval is [1, None]"),
        (lambda r: r.pop("claims"), "claims is missing"),
        (lambda r: r["claims"].append("one"), "claims[1] is 'one', expected an object"),
        (lambda r: r["claims"][0].pop("p_other"), "claims[0].p_other is missing"),
        (lambda r: r["claims"][0].update(interval=[1]), "claims[0].interval is [1], expected two numbers"),
        (lambda r: r["values"][0]["paper"].pop("not_comparable"), "values[0].paper.not_comparable is missing"),
    ],
)
def test_a_wrong_field_is_named_with_the_file(report, change, reason):
    edit(report, change)
    for read in (records.read_results, pages.write_index):
        with pytest.raises(
            ValueError, match=re.escape(f"{report / '01_x.json'} is not a whole results file: {reason}")
        ):
            read(report)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"a": 1e999}', "[" * 100_000, "\xff"])
def test_what_is_no_record_is_named(report, text):
    (report / "01_x.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"01_x\.json is not a whole results file"):
        records.read_results(report)


def test_a_number_too_large_for_a_float_is_not_finite(report):
    path = report / "01_x.json"
    path.write_text(path.read_text().replace('"value": 50.0', '"value": 1e999'))
    with pytest.raises(ValueError, match=r"values\[0\]\.value is inf"):
        records.read_results(report)


def test_results_of_a_notebook_that_was_not_planned_are_left_out_and_said_to_be(report):
    text = (report / "01_x.json").read_text().replace('"01_x"', '"99_old"').replace('"T"', '"An old one"')
    (report / "99_old.json").write_text(text)
    assert pages.write_index(report) == ["99_old.json"]
    page = (report / "index.html").read_text()
    assert 'id="01_x"' in page
    assert "An old one" not in page
    shutil.copy(report / "01_x.json", report / "02_copy.json")
    with pytest.raises(ValueError, match=r"02_copy\.json is not a whole results file: it holds the results of 01_x"):
        pages.write_index(report)


def test_a_folder_without_a_plan_is_no_report(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"holds no \*\.params\.yml"):
            pages.write_index(folder)
    assert list(tmp_path.iterdir()) == []


ACTIVE = {
    "text/html": "<script>document.title='acted'</script><img src='http://127.0.0.1:9/x.png' onerror='alert(1)'>"
    "<META http-equiv='refresh' content='0;url=http://127.0.0.1:9/'><base href='http://127.0.0.1:9/'>",
    "application/javascript": "document.title='acted'",
    "image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg' onload=\"document.title='acted'\"></svg>",
    "text/markdown": "<iframe src='http://127.0.0.1:9/'></iframe>",
}


@pytest.fixture
def active_pages(report):
    """A page of a notebook whose outputs would act, and the index."""
    path = make_notebook(report / "01_x.ipynb")
    notebook = json.loads(path.read_text())
    outputs = [new_output("display_data", {kind: text}) for kind, text in ACTIVE.items()]
    notebook["cells"][-1]["outputs"] = outputs
    path.write_text(json.dumps(notebook))
    pages.render_notebook(path)
    pages.write_index(report)
    return [report / "01_x.html", report / "index.html"]


def test_every_page_forbids_scripts_and_requests(active_pages):
    for path in active_pages:
        page = path.read_text()
        (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', page)
        rules = {rule.split()[0]: rule.split()[1:] for rule in policy.replace("&#39;", "'").split(";")}
        assert rules["default-src"] == ["'none'"]
        assert (rules["img-src"], rules["style-src"]) == (["data:"], ["'unsafe-inline'"])
        assert "script-src" not in rules
        assert page.index("Content-Security-Policy") < page.index("<link"), "it holds from where it stands"
        assert len(re.findall(r"<meta\b", page, flags=re.IGNORECASE)) == 3, "charset, policy, viewport"
        assert not re.search(r"<base\b", page, flags=re.IGNORECASE)
        assert not re.search(r"<(script|iframe|svg)\b|<[^>]*\son\w+=", page, flags=re.IGNORECASE)


def test_chromium_runs_nothing_and_a_click_unfolds_the_code(active_pages):
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium on this machine to open the pages with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page, requests, refused = browser.new_page(), [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
        page.goto(active_pages[0].as_uri())
        page.wait_for_timeout(500)
        assert page.title().startswith("T · camlib report")
        assert page.url == active_pages[0].as_uri()
        assert [url for url in requests if url.startswith("http")] == refused == []
        cell = page.locator("pre.source").first
        assert not cell.is_visible()
        page.locator("details.code summary").first.click()
        assert cell.is_visible()
        browser.close()


def test_texts_of_results_and_notebooks_are_never_markup(report):
    edit(report, lambda r: r.update(title="<b>t", claim="<b>c", headline="<b>h", device="<b>d"))
    edit(report, lambda r: r["values"][0].update(model="<b>m"))
    path = make_notebook(report / "01_x.ipynb")
    path.write_text(path.read_text().replace('"# T"', '"# A <b>title"'))
    pages.render_notebook(path)
    pages.write_index(report)
    shown = {name: (report / f"{name}.html").read_text() for name in ("01_x", "index", "numbers")}
    for letter, name in (("c", "index"), ("h", "index"), ("d", "index"), ("d", "01_x"), ("m", "numbers")):
        assert f"&lt;b&gt;{letter}" in shown[name]
        assert f"<b>{letter}" not in shown[name], (letter, name)
    assert "<h1>A &lt;b&gt;title</h1>" in shown["01_x"]


def test_a_page_is_called_as_its_notebook_and_leads_to_the_next_and_to_what_made_it(report):
    for name, title in (("01_x", "First: one"), ("02_y", "Second")):
        path = make_notebook(report / f"{name}.ipynb")
        path.write_text(path.read_text().replace('"# T"', f'"# {title}"'))
        (report / f"{name}.params.yml").write_text("profile: mini\nparameters: {}\nnot_run: []\n")
    pages.render_notebook(report / "01_x.ipynb")
    page = (report / "01_x.html").read_text()
    assert "<title>First: one · camlib report (mini)</title>" in page
    assert '<a href="01_x.html" aria-current="page">First</a>' in page
    assert '<a rel="next" href="02_y.html"><span>Next</span> Second</a>' in page
    assert 'rel="prev"' not in page
    assert all(f'<a href="01_x.{suffix}">' in page for suffix in ("ipynb", "json", "params.yml"))
