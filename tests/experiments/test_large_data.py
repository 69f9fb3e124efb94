"""The experiment on large data: the sets it makes, what it measures of one, and its tables."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import tfmnist

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(EXPERIMENTS))
    try:
        spec = importlib.util.spec_from_file_location("large_data", EXPERIMENTS / "large_data.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(EXPERIMENTS))


def test_a_set_is_written_as_far_as_asked_for(script: ModuleType, tmp_path: Path) -> None:
    digits = tfmnist.load(script.make_set(tmp_path / "set", 3000, 2000), validation=0)
    assert (len(digits.train), len(digits.test), digits.classes) == (3000, 1000, 10)
    images = digits.train.images
    assert images[:2000].any(axis=(1, 2)).all() and not images[2000:].any()
    before = (tmp_path / "set" / "train-images-idx3-ubyte").stat().st_mtime_ns
    script.make_set(tmp_path / "set", 3000, 2000)
    assert (tmp_path / "set" / "train-images-idx3-ubyte").stat().st_mtime_ns == before


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_what_is_measured_is_reported(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "VALIDATION", 500)
    monkeypatch.setattr(script, "BLOCKS", 2)
    source = script.make_set(tmp_path / "set", 60_000, 60_000)
    start, speed = script.measure_start(source), script.measure_speed(source, 2)
    assert start["memory"] >= start["memory before"] > 0
    assert len(speed["mapped"]) == len(speed["memory"]) == 2 and min(speed["mapped"]) > 0
    lines = script.report([{"images": 60_000, **start}], speed).splitlines()
    assert lines[2].startswith("| 60,000 | ") and len(lines[0].split("|")) == len(lines[2].split("|"))
    wall = {"mapped": [50_000, 60_000, 1], "memory": [100_000, 80_000, 1], "bytes an image": 784}
    text = script.report([], wall | {"mapped, processor": [9], "memory, processor": [10]})
    assert (
        "| 50,000 |" in text and "| 80,000 |" in text and "75.0% of the speed in memory" in text and "90.0% by" in text
    )
