"""Seals of text files: every changed bit and every shorter file is noticed."""

import json
import tomllib

import pytest

from tfmnist.system.seals import seal, unseal

TOML = 'name = "x"\n\n[train]\nepochs = 5\nreport = true\n'
JSON = json.dumps({"test_accuracy": 0.98, "data": {"classes": 10}}, indent=2) + "\n"


@pytest.mark.parametrize("text", [TOML, JSON])
def test_a_sealed_text_is_read_back(text: str) -> None:
    assert unseal(seal(text).encode()) == text
    assert unseal(text.encode()) == text  # without a seal, as early versions wrote it
    assert "sha256" in seal(text)


def test_sealed_files_are_toml_and_json() -> None:
    assert tomllib.loads(seal(TOML)) == tomllib.loads(TOML)
    sealed = json.loads(seal(JSON))
    assert next(iter(sealed)) == "sha256" and sealed | {"sha256": ""} == json.loads(JSON) | {"sha256": ""}


@pytest.mark.parametrize("text", [TOML, JSON])
def test_each_changed_bit_is_noticed_or_changes_only_the_seal(text: str) -> None:
    whole = seal(text).encode()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            rest = unseal(bytes(changed))
        except ValueError:
            continue
        assert rest == text or (rest.encode() == changed and rest.endswith(text[2:])), bit


@pytest.mark.parametrize("text", [TOML, JSON])
def test_each_shorter_file_is_noticed(text: str) -> None:
    whole = seal(text).encode()
    first = whole.index(b"\n", 2) + 1
    if text == TOML:
        first = len("# sha256 ")  # cut within the digest too
    for length in range(first, len(whole)):
        with pytest.raises(ValueError, match="changed"):
            unseal(whole[:length])
