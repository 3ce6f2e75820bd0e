"""The quickstart driven in JupyterLab as people do (`make check-lab`): restart, run all, move the threshold, look.

Prints how long after the press of a key the new picture stands on the page. LAB_SHOTS: a folder for pictures of it.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# In the page: from the press of a key until the picture has another address and is decoded, in ms.
WATCH = """image => {
    window.redrawn = new Promise(resolve => document.addEventListener("keydown", () => {
        const pressed = performance.now(), source = image.src;
        const look = () => image.src === source ? requestAnimationFrame(look)
            : image.decode().then(() => resolve(performance.now() - pressed));
        look();
    }, {capture: true, once: true}));
}"""


@pytest.fixture
def lab(tmp_path):
    """A `make lab` without a browser and without a token, on a copy of the quickstart: its address, and the copy."""
    copy = tmp_path / "notebooks" / "00_quickstart.ipynb"
    copy.parent.mkdir()
    shutil.copyfile(ROOT / "notebooks" / copy.name, copy)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (
        f"--no-browser --allow-root --port={port} --ServerApp.port_retries=0 --IdentityProvider.token= "
        f"--ServerApp.root_dir='{tmp_path}'"
    )
    command = ["make", "--no-print-directory", "lab", f"ARGS={arguments}"]
    log = tmp_path / "lab.log"
    with open(log, "w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
    try:
        while "is running at" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/", copy
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_run_all_is_clean_and_the_threshold_moves_mask_and_box_at_once(lab, tmp_path, capsys):
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium on this machine to open JupyterLab with")
    from playwright.sync_api import expect, sync_playwright

    address, copy = lab
    shots = Path(os.environ.get("LAB_SHOTS", tmp_path))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(address)
        page.locator(".jp-NotebookPanel-notebook").wait_for()
        expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)  # the kernel is ready
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Restart Kernel and Run All Cells").first.click()
        page.locator(".jp-Dialog .jp-mod-accept").click()
        page.get_by_text("map's mean + bias equals the score: True").wait_for()

        slider, image = page.get_by_role("slider"), page.locator("img.jupyter-widgets")
        caption = page.get_by_text("Left: the map.")
        slider.scroll_into_view_if_needed()
        slider.focus()
        first, times = caption.inner_text(), []
        page.screenshot(path=shots / "before.png")
        for _ in range(20):
            image.evaluate(WATCH)
            page.keyboard.press("ArrowRight")
            times.append(page.evaluate("window.redrawn"))
        last = caption.inner_text()
        page.screenshot(path=shots / "after.png")
        assert "above 20% of" in first
        assert "above 40% of" in last
        assert first.rpartition(":")[2] != last.rpartition(":")[2], "the box"

        for choice, option, expected in (("rule", "released", "Loose and tight box"), ("picture", "coffee", "Loose")):
            page.get_by_label(choice, exact=True).select_option(option)
            expect(caption).to_contain_text(expected)
        expect(page.get_by_label("class", exact=True)).to_contain_text("espresso")
        page.screenshot(path=shots / "released.png")
        page.keyboard.press("Control+s")
        expect(page.locator(".jp-mod-dirty")).to_have_count(0)
        browser.close()
    saved = json.loads(copy.read_text())
    cells = [cell for cell in saved["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.get("name", output["output_type"]) for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stdout", "display_data", "execute_result"}, "neither an error nor a warning"
    assert "widgets" not in saved["metadata"]
    with capsys.disabled():
        print(f"\nredrawn {statistics.median(times):.0f} ms after a key, the slowest of 20 {max(times):.0f} ms")
    assert statistics.median(times) < 100
