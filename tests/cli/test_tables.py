"""The table of gradients, and the largest error in it."""

import math
from dataclasses import replace
from typing import Any

import pytest

from tfmnist.backprop.check import Comparison, Entry
from tfmnist.cli.tables import show_gradients

ROW = Comparison(
    name="dense_1/kernel",
    shape=(784, 30),
    largest=0.25,
    tape_formula=1e-15,
    checked=50,
    kinks=0,
    tape_difference=2e-9,
    formula_difference=3e-9,
    resolution=1e-9,
    entry=Entry((3, 4), 0.25, 0.25, 0.2500001),
)
UNSEEN: dict[str, Any] = {
    "checked": 0,
    "kinks": 50,
    "tape_difference": math.nan,
    "formula_difference": math.nan,
    "entry": None,
}


@pytest.mark.parametrize(
    ("changes", "largest"),
    [
        ({}, 3e-9),
        ({"tape_difference": 0.5}, 0.5),
        ({"tape_formula": 2.0}, 2.0),
        (UNSEEN, 1e-15),  # no entry was compared with differences
        ({"tape_formula": math.inf}, math.inf),
        ({"tape_formula": math.nan}, math.nan),
        ({**UNSEEN, "tape_formula": math.nan}, math.nan),
        ({"tape_difference": math.nan}, math.nan),
        ({"formula_difference": math.nan}, math.nan),
    ],
)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_largest_distance_is_returned_and_nan_counts_as_the_largest(
    changes: dict[str, Any], largest: float, index: int, capsys: pytest.CaptureFixture[str]
) -> None:
    calm = replace(ROW, tape_difference=1e-15, formula_difference=1e-15, name="logits/kernel")
    rows = [calm, calm, calm]
    rows[index] = replace(ROW, **changes)
    returned = show_gradients("mlp", 20, rows)
    assert returned == largest or (math.isnan(returned) and math.isnan(largest))
    assert capsys.readouterr().out.splitlines()[-1] == f"largest relative error {largest:.1e}"


def test_the_table_of_gradients(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [ROW, replace(ROW, name="logits/bias", shape=(30,), checked=1234, kinks=7), replace(ROW, **UNSEEN)]
    show_gradients("sigmoid-mlp", 20, rows)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80 and "\x1b" not in out
    assert out.startswith("sigmoid-mlp: gradients of 20 examples; errors")
    table = [line.split() for line in out.splitlines()]
    assert ["dense_1/kernel", "784x30", "0.25", "1.0e-15", "2.0e-09", "3.0e-09", "50"] in table
    assert ["logits/bias", "30", "0.25", "1.0e-15", "2.0e-09", "3.0e-09", "1,234"] in table
    assert ["dense_1/kernel", "784x30", "0.25", "1.0e-15", "nan", "nan", "0"] in table
    assert "left out 57 entries at which a ReLU switches, where there is no derivative" in out
    assert out.count("dense_1/kernel[3, 4]") == 1  # a row without a checked entry has none
    assert ["difference", "+2.500001000000000e-01"] in table
