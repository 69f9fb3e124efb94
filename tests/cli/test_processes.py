"""`tfmnist train` in several processes: the arguments; the training itself is tested in `test_distribute`."""

import json
from collections.abc import Callable

import pytest

TWO = json.dumps({"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}})


def test_wrong_arguments_are_one_line(complaint: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--processes is 0: expected 1 to" in complaint("train", "mlp", "--processes", "0")
    assert "--processes is -3: expected 1 to" in complaint("train", "mlp", "--processes", "-3")
    assert "give --processes too, to say how many" in complaint("train", "mlp", "--ray", "127.0.0.1:1")
    monkeypatch.setenv("TF_CONFIG", TWO)
    assert "--processes is 3 but TF_CONFIG names 2" in complaint("train", "mlp", "--processes", "3")
    assert "TF_CONFIG names the processes already; leave --ray out" in complaint("train", "mlp", "--ray", "auto")
    monkeypatch.setenv("TF_CONFIG", "no JSON")
    assert "TF_CONFIG is 'no JSON'" in complaint("train", "mlp")
