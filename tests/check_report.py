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
    assert {p.stem for p in PAGES} == names | {"index"}
    assert not list(REPORT.glob("*.partial.ipynb"))
    index = (REPORT / "index.html").read_text()
    for path in sorted(REPORT.glob("*.json")):
        record = json.loads(path.read_text())
        assert record["values"], path
        assert record["title"].replace("'", "&#39;") in index
        assert all(v["n"] > 0 for v in record["values"])
        if any(v["synthetic"] for v in record["values"]):
            section = index[index.index(f'id="{record["notebook"]}"') :].split("</article>")[0]
            assert "synthetic" in section


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
    assert index.index('<table class="claims">') < index.index("<article"), "the front page opens with the claims"


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
    for target in re.findall(r'<a [^>]*href="([^"#]+\.html)"', text):
        assert (REPORT / target).exists(), target


def test_chromium_opens_the_pages_with_the_network_off_and_requests_nothing():
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium on this machine to open the report with")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        for path in PAGES:
            page = context.new_page()
            requests, errors = [], []
            page.on("request", lambda request, requests=requests: requests.append(request.url))
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            page.goto(path.resolve().as_uri())
            outside = [url for url in requests if not url.startswith(("data:", path.resolve().as_uri()))]
            assert (outside, errors) == ([], []), path.name
            broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).length")
            assert broken == 0, path.name
            if path.stem != "index":
                cell = page.locator(".code_cell > .input").first
                assert not cell.is_visible(), f"{path.name}: code is not folded"
                page.get_by_role("checkbox", name="Show code").check()
                assert cell.is_visible(), f"{path.name}: the box does not unfold the code"
            page.close()
        browser.close()
