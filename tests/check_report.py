"""Checks of a built report (`make test` builds reports/mini first): whole, opens from disk, asks for nothing."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from camlib.report.plan import read_parameters, read_planned
from camlib.report.provenance import find_unregistered

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "reports" / os.environ.get("REPORT_PROFILE", "mini")
PAGES = sorted(REPORT.glob("*.html"))


def test_every_notebook_has_a_page_and_every_experiment_a_result():
    names = {p.stem for p in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert {p.stem for p in PAGES} == names | {"index", "numbers"}
    assert not list(REPORT.glob("*.partial.ipynb"))
    index = (REPORT / "index.html").read_text()
    for path in sorted(REPORT.glob("*.json")):
        record = json.loads(path.read_text())
        assert record["values"], path
        assert all(v["n"] > 0 for v in record["values"])
        card = index[index.index(f'id="{record["notebook"]}"') :].split("</article>")[0]
        assert all(f"{record['notebook']}.{suffix}" in card for suffix in ("html", "ipynb", "json", "params.yml"))
        if any(v["synthetic"] for v in record["values"]):
            assert "drawn data" in card


def test_settings_are_the_parameters_cell_with_what_the_plan_changed():
    records = {path.stem: json.loads(path.read_text()) for path in REPORT.glob("*.json")}
    experiments = {p.stem for p in (ROOT / "notebooks").glob("[0-9]*.ipynb")} - {"00_quickstart", "90_summary"}
    assert set(records) == experiments
    for name, record in records.items():
        planned = read_planned(REPORT / f"{name}.params.yml").parameters
        assert record["settings"] == read_parameters(ROOT / "notebooks" / f"{name}.ipynb") | planned, name


def test_claims_were_registered_before_the_run():
    index = (REPORT / "index.html").read_text()
    for path in sorted(REPORT.glob("*.json")):
        record = json.loads(path.read_text())
        if record["claims"] and record["git_commit"] != "unknown":
            assert find_unregistered(record) == "", path
    claims = index.index('<table class="claims">')
    assert index.index('class="strip"') < claims < index.index("<article"), "photographs, claims, experiments"


def test_every_value_says_of_which_data_it_is():
    for path in REPORT.glob("*.json"):
        record = json.loads(path.read_text())
        data = {d["name"]: d["synthetic"] for d in record["datasets"]}
        assert all(data[value["dataset"]] == value["synthetic"] for value in record["values"]), path


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pages_name_nothing_outside_themselves(page):
    text = page.read_text()
    sources = re.findall(r"""<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=["']([^"']+)""", text)
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"@import|url\((?!['\"]?data:)", text)
    for target in re.findall(r'<a [^>]*href="([^"#:]+)"', text):
        assert (REPORT / target).exists(), target
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for target, anchor in re.findall(r'href="([^"#:]*)#([^"]+)"', text):
        assert f'id="{anchor}"' in ((REPORT / target).read_text() if target else text), anchor
    assert "PosixPath" not in re.sub(r"<details class=\"code\">.*?</details>", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def browser():
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium on this machine to open the report with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=PAGES, ids=lambda p: p.stem)
def opened(browser, request):
    """A page from disk with the network off; in the end it has asked for nothing and complained of nothing."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text))
    page.goto(request.param.resolve().as_uri())
    yield page
    context.close()
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert said == []


def open_folds(page):
    """As a reader who wants to see all."""
    for summary in page.locator("summary").all():
        summary.click()
    for box in page.locator(".unfold input").all():
        box.check()


def test_pages_fit_decode_fold_and_lead_on(opened):
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth || !i.alt).length"
    assert opened.evaluate(broken) == 0
    code = opened.locator("pre.source")
    assert not any(cell.is_visible() for cell in code.all()), "code is folded"
    more = opened.locator("tr.more")
    assert not any(row.is_visible() for row in more.all()), "long tables are folded"
    open_folds(opened)
    assert all(cell.is_visible() for cell in [*code.all(), *more.all()])
    for width in (390, 768, 1280, 1600):
        opened.set_viewport_size({"width": width, "height": 900})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width, f"sideways scroll at {width} px"
        inner = "[...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 &&"
        inner += " ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).length"
        assert opened.evaluate(inner) == 0, f"scroll inside scroll at {width} px"
    figure = opened.locator(".zoom .enlarge").first
    if figure.count():
        before = figure.bounding_box()["width"]
        figure.click()
        assert figure.bounding_box()["width"] > before
        opened.locator(".zoom:target .close").click()
        assert figure.bounding_box()["width"] == before
    current = opened.locator("nav [aria-current=page], .home [aria-current=page]")
    assert current.count() == 1
    for link in opened.locator(".sections a").all():
        link.click()
        assert opened.locator(":target").count() == 1
    if "index.html" not in opened.url:
        opened.locator(".home a").click()
        assert opened.url.endswith("index.html")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_fault(opened, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    opened.emulate_media(color_scheme=scheme)
    open_folds(opened)
    opened.set_viewport_size({"width": width, "height": 900})
    found = Axe().run(opened)
    assert {v["id"]: [node["html"][:200] for node in v["nodes"][:3]] for v in found.response["violations"]} == {}


def test_numbers_are_filtered_by_table_and_by_status(browser):
    page = browser.new_page()
    page.goto((REPORT / "numbers.html").resolve().as_uri())
    rows = page.locator(".numbers tbody tr:visible")
    whole = rows.count()
    page.get_by_role("radio", name=re.compile(r"^Table 2 ")).check()
    table = rows.count()
    assert 0 < table < whole
    assert {row.split("\t")[0] for row in rows.all_inner_texts()} == {"Table 2"}
    page.get_by_role("radio", name=re.compile("^not run ")).check()
    assert rows.count() < table
    assert all("not run" in row for row in rows.all_inner_texts())
    page.close()
