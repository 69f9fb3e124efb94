"""Layer specifications: every form is parsed, everything else is named with the forms that exist."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmnist.layer_specs import LayerSpec, parse_layer


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("conv 32 5x3", LayerSpec("conv", units=32, size=(5, 3))),
        ("  conv   8 3x3   /2  valid ", LayerSpec("conv", units=8, size=(3, 3), stride=2, padding="VALID")),
        ("conv 8 3x3 same", LayerSpec("conv", units=8, size=(3, 3))),
        ("max 2", LayerSpec("max", size=(2, 2), stride=2)),
        ("average 3", LayerSpec("average", size=(3, 3), stride=3)),
        ("global average", LayerSpec("global", pool="average")),
        ("flatten", LayerSpec("flatten")),
        ("dense 128", LayerSpec("dense", units=128)),
        ("dropout 0.5", LayerSpec("dropout", rate=0.5)),
        ("noise 0.3", LayerSpec("noise", deviation=0.3)),
    ],
)
def test_every_form_is_parsed(text: str, spec: LayerSpec) -> None:
    assert parse_layer(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        *("", "conv", "conv 8", "conv 8 3", "conv 8 3x3x3", "conv 0 3x3", "conv 8 0x3", "conv 8 3x3 /0"),
        *("conv 8 3x3 /", "conv 8 3x3 full", "max", "max 0", "max -2", "max 2.5", "global", "global min"),
        *("flatten 2", "dense", "dense 0", "dense ten", "dense 1 2", "Dense 10", "dropout", "dropout 1"),
        *("dropout -0.1", "dropout nan", "dropout x", "pool 2", "noise", "noise -1", "noise nan", "noise inf"),
    ],
)
def test_unknown_forms_are_refused_with_the_forms_that_exist(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_layer(text)
    message = str(raised.value)
    assert repr(text) in message and "'dense UNITS'" in message


WORDS = ["conv", "max", "average", "global", "flatten", "dense", "dropout", "noise", "valid"]
WORDS += ["/2", "3x3", "8", "-1", "0.5", "x", "/"]


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)))
def test_any_text_is_a_layer_or_a_value_error(text: str) -> None:
    try:
        spec = parse_layer(text)
    except ValueError:
        return
    assert spec.stride >= 1 and 0 <= spec.rate < 1
