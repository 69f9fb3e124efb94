"""The baseline that photos are measured against makes images like MNIST's."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import tfmnist

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def other_writers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    spec = importlib.util.spec_from_file_location("other_writers", EXPERIMENTS / "other_writers.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "other_writers", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("way", ["plain", "faint", "shaded", "white_on_black", "off_the_middle", "transparent"])
def test_an_enlarged_image_is_read_back(way: str, other_writers: ModuleType) -> None:
    images = tfmnist.load("mnist").test.images[:20]
    draw = other_writers.WAYS[way]
    read = [other_writers.read_plainly(draw(np.random.default_rng(0), image / 255)) for image in images]
    correlations = [np.corrcoef(one.ravel(), image.ravel())[0, 1] for one, image in zip(read, images)]
    assert np.mean(correlations) > 0.9 and min(correlations) > 0.6, correlations
