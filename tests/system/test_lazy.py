"""Packages that import their public names when they are used."""

import subprocess
import sys

import pytest

import tfmnist
from tfmnist import nn


def test_every_public_name_is_there_and_listed() -> None:
    for package in (tfmnist, nn):
        for name in package.__all__:
            assert getattr(package, name) is not None and name in dir(package)


def test_an_unknown_name_is_an_attribute_error() -> None:
    for package in (tfmnist, nn):
        with pytest.raises(AttributeError, match="has no attribute 'Densse'"):
            package.Densse  # noqa: B018  # type: ignore[attr-defined]


def test_a_submodule_needs_no_import_of_its_own() -> None:
    code = "import sys, tfmnist; assert 'tensorflow' not in sys.modules; print(tfmnist.nn.Dense(2, 3).output_shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(3,)\n", "")
