"""The experiments on several processes, and on the pieces of which a thousand would be made."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(EXPERIMENTS))
        spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_order_of_many_pictures_is_checked(
    script: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    script("scale").measure_order(11_000_000)
    said = capsys.readouterr().out
    assert "the shares of 1,000 processes are all of a step, each once: True" in said
    assert "each of 11,000,000 pictures comes once: True" in said
