"""Fixtures shared by the tests."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import make_notebook
from PIL import Image

from camlib import store
from camlib.datasets import Dataset
from camlib.report import plan

PROFILES = """
full: {for: "everything", time: "days", auto: gpu}
tiny: {for: "small photographs", time: "minutes", without_gpu: tiny-cpu}
mini: {for: "drawn data", time: "minutes"}
"""
PROJECT_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """`shared_data("release-boxes")` -> its path under CAMLIB_DATA; skips, saying so, where it is absent."""

    def find(name: str) -> Path:
        if "CAMLIB_DATA" not in os.environ:
            pytest.skip(f"needs real data: set CAMLIB_DATA to a folder that holds {name}")
        path = PROJECT_ROOT / os.environ["CAMLIB_DATA"] / name
        if not path.exists():
            pytest.skip(f"needs real data: {name} is not in CAMLIB_DATA ({os.environ['CAMLIB_DATA']})")
        return path

    return find


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has caches and checkpoints of its own: `own_cache`/cache and `own_cache`/checkpoints."""
    folder = tmp_path_factory.mktemp("camlib")
    monkeypatch.setenv("CAMLIB_CACHE", str(folder))
    return folder


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that this process cannot write, root or not."""
    with tempfile.TemporaryDirectory() as parent:  # not tmp_path: only its owner may enter that
        os.chmod(parent, 0o755)
        folder = Path(parent) / "locked"
        folder.mkdir(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield folder
        if user == 0:
            os.seteuid(0)


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each way in which Python starts worker processes, on a machine with two processors or more."""
    if request.param not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {request.param} on this system")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


@pytest.fixture
def folder_dataset(tmp_path: Path) -> Dataset:
    """Seven small photographs-to-be of unequal size, in files."""
    rng = np.random.default_rng(0)
    sizes = [(20 + 3 * i, 40 - 2 * i) for i in range(7)]
    files = [tmp_path / f"picture_{i}.jpg" for i in range(7)]
    for file, (width, height) in zip(files, sizes, strict=True):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(file, quality=95)
    return Dataset(
        name="pictures", split="val", ids=[f.stem for f in files], labels=np.arange(7) % 2, classes=["a", "b"],
        class_names=["a", "b"], boxes=[np.array([[2.0, 3.0, 12.0, 20.0]])] * 7, sizes=np.array(sizes),
        source="made by the test", files=[str(f) for f in files],
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with one notebook; nothing but the embedded data is there."""
    monkeypatch.setattr(store, "PROJECT_ROOT", tmp_path)
    monkeypatch.setenv("CAMLIB_DATA", str(tmp_path / "raw"))
    monkeypatch.setattr(plan, "has_gpu", lambda: True)
    make_notebook(tmp_path / "notebooks" / "01_x.ipynb")
    (tmp_path / "params").mkdir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "params" / "profiles.yml").write_text(PROFILES)
    (tmp_path / "params" / "tiny.yml").write_text("01_x: {data: {dataset: tiny-imagenet-200}}\n")
    (tmp_path / "params" / "tiny-cpu.yml").write_text("{}\n")
    (tmp_path / "params" / "full.yml").write_text("01_x: {data: {dataset: ilsvrc2012}}\n")
    return tmp_path
