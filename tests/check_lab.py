"""The instrument of the quickstart driven in JupyterLab with a real browser; by hand: pytest -s tests/check_lab.py."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT = 600_000  # ms, for a notebook that runs whole


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab on a copy of the quickstart -> its address."""
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "00_quickstart.ipynb", tmp_path / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.root_dir={tmp_path}", f"--port={port}", "--no-browser", "--IdentityProvider.token="]
    options += ["--LabApp.expose_app_in_browser=True"]
    options += ["--allow-root"] if os.geteuid() == 0 else []
    process = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/lab"
    for _ in range(240):
        try:
            urllib.request.urlopen(address).close()
            break
        except OSError:
            time.sleep(0.5)
    yield address
    process.terminate()
    process.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_moved_threshold_redraws_map_mask_and_box(lab, tmp_path):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{lab}/tree/notebooks/00_quickstart.ipynb")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=WAIT)
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        threshold = page.locator(".widget-slider", has_text="Threshold").get_by_role("slider").first
        threshold.wait_for(state="attached", timeout=WAIT)
        threshold.scroll_into_view_if_needed()
        picture, says = page.locator("img.widget-image"), page.locator(".widget-html-content", has_text="drawn in")
        before, drawn = picture.get_attribute("src"), []
        for _ in range(4):
            told = says.inner_text()
            threshold.focus()
            threshold.press("ArrowRight")
            sync_api.expect(says).not_to_have_text(told, timeout=WAIT)
            drawn.append((picture.get_attribute("src"), says.inner_text()))
        page.screenshot(path=os.environ.get("LAB_SCREENSHOT", str(tmp_path / "lab.png")))
        browser.close()
    pictures = [before, *(source for source, _ in drawn)]
    assert len(set(pictures)) == len(pictures), "another threshold, another mask and box"
    times = [int(re.search(r"drawn in (\d+) ms", text)[1]) for _, text in drawn]
    print("\nredrawn in", ", ".join(f"{t} ms" for t in times))
