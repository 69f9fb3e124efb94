"""What all tests of data share: a cache of the test's own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("cache") / "tfmnist"
    monkeypatch.setenv("TFMNIST_CACHE", str(path))
    return path
