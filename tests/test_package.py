"""What a user gets: names, types, embedded data, and a wheel that holds it all."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tfmnist

ROOT = Path(__file__).parents[1]
PUBLIC: list[str] = tfmnist.__all__  # pyright: ignore[reportAttributeAccessIssue]


def test_public_names_are_there_and_documented() -> None:
    assert {"CNN", "MLP", "Recipe", "evaluate", "export", "fit", "load", "run", "sweep"} <= set(PUBLIC)
    for name in PUBLIC:
        assert getattr(tfmnist, name).__doc__, name
    assert set(PUBLIC) <= set(dir(tfmnist))


def test_the_versions_known_to_work_are_allowed_by_the_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(line for name in extras if name not in ("benchmark", "gpu", "mysql", "postgresql") for line in extras[name]),
    ]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    known = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines[1:])}
    checked = 0
    for requirement in map(Requirement, needed):
        if requirement.name != "tfmnist":
            assert known[canonicalize_name(requirement.name)] in requirement.specifier, requirement
            checked += 1
    assert checked > 20
    for requirement in map(Requirement, project["dependencies"]):
        assert {specifier.operator for specifier in requirement.specifier} == {">=", "<"}, requirement


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'tfmnist' has no attribute 'kears'"):
        tfmnist.kears  # noqa: B018  # pyright: ignore


@pytest.fixture(scope="module")
def wheel_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return folder / done.stdout.split()[-1]


def test_the_wheel_holds_data_recipes_and_types(wheel_path: Path) -> None:
    with zipfile.ZipFile(wheel_path) as wheel:
        names = set(wheel.namelist())
        digest = hashlib.sha256(wheel.read("tfmnist/data/mnist/train-images-idx3-ubyte.gz")).hexdigest()
    expected = ["py.typed", "__init__.pyi", "data/mnist/NOTICE", "recipes/mlp.toml", "recipes/cnn.toml", "cli/main.py"]
    expected += [
        f"data/mnist/{set}-{kind}-ubyte.gz" for set in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
    ]
    assert {f"tfmnist/{name}" for name in expected} <= names
    source = ROOT / "tfmnist/data/mnist/train-images-idx3-ubyte.gz"
    assert digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert not any(name.startswith(("tests/", "experiments/")) for name in names)


def test_the_wheel_says_what_it_is(wheel_path: Path) -> None:
    with zipfile.ZipFile(wheel_path) as wheel:
        (about,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata: Message = BytesParser().parsebytes(wheel.read(about))
        notices = [
            wheel.read(about.replace("METADATA", f"licenses/{name}")) for name in metadata.get_all("License-File", [])
        ]
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-SA-3.0"
    assert b"Apache License" in notices[0] and b"https://creativecommons.org/licenses/by-sa/3.0/" in notices[1]
    assert metadata["Author"] == "The tfmnist developers" and metadata["Summary"] and metadata["Keywords"]
    assert metadata["Requires-Python"] == ">=3.11" and "Two commands" in metadata.get_payload()
    classifiers = set(metadata.get_all("Classifier", []))
    assert not any(line.startswith("License ::") for line in classifiers), "the expression has replaced them"
    assert {line.partition(" :: ")[2] for line in classifiers if line.startswith("Operating System ::")} == {
        "MacOS",
        "Microsoft :: Windows",
        "POSIX :: Linux",
    }
    assert {"gpu", "ray", "sweep"} <= set(metadata.get_all("Provides-Extra", []))
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {"filelock", "numpy", "tensorflow"} <= {re.split("[<>=]", line)[0] for line in needed}
