"""Fixtures shared by the tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

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
