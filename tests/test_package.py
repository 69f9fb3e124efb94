"""What a user gets: names, types, embedded data, and a wheel that holds it all."""

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import tfmnist

ROOT = Path(__file__).parents[1]
PUBLIC: list[str] = tfmnist.__all__  # pyright: ignore[reportAttributeAccessIssue]


def test_public_names_are_there_and_documented() -> None:
    assert {"CNN", "MLP", "Recipe", "evaluate", "export", "fit", "load", "run", "sweep"} <= set(PUBLIC)
    for name in PUBLIC:
        assert getattr(tfmnist, name).__doc__, name
    assert set(PUBLIC) <= set(dir(tfmnist))


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


def readme_example(call: str) -> str:
    """The example in the README that makes this call."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = (code for part in text.split("```python\n")[1:] if call in (code := part.split("```", 1)[0]))
    return example


@pytest.fixture
def run_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Runs an example in an empty folder and returns what it prints."""

    def run(example: str) -> str:
        monkeypatch.chdir(tmp_path)
        exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out

    return run


def test_the_readme_example_runs(run_example: Callable[[str], str]) -> None:
    example = readme_example("tfmnist.fit(").replace("epochs=5", "epochs=2").replace("[512]", "[64]")
    out = run_example(example.replace('"mnist"', '"mnist", per_class=500'))
    assert float(out.split("test ")[1].split()[0]) > 0.8


def test_the_readme_loop_over_events_runs(small: Path, tmp_path: Path, run_example: Callable[[str], str]) -> None:
    keys = {"data.source": str(small), "data.validation": 100, "train.compile": "graph"}
    (tmp_path / "mlp.toml").write_text(tfmnist.Recipe.load("mlp").replace(keys).to_toml(), encoding="utf-8")
    out = run_example(readme_example("tfmnist.run_events(").replace('"mlp"', '"mlp.toml"').replace("0.97", "0.2"))
    assert out.startswith("epoch 1: ") and len(out.splitlines()) == 1
    assert (tmp_path / "runs/first-try/checkpoints").is_dir() and not (tmp_path / "runs/first-try/result.json").exists()


def test_the_readme_sweep_runs(small: Path, tmp_path: Path, run_example: Callable[[str], str]) -> None:
    keys = f'"data.source" = "{small}"\n"data.validation" = 100\n"train.epochs" = 2\n"train.compile" = "graph"\n'
    keys += '"export.model" = false\n"export.report" = false\n'
    space = '[space]\n"model.hidden" = [[8], [16]]\n[search]\nsampler = "grid"\nconfirm = 1\n'
    (tmp_path / "widths.toml").write_text(f"[fixed]\n{keys}{space}")
    out = run_example(readme_example("tfmnist.sweep(").replace("workers=2", "workers=-1"))
    assert "1 done 0." in out and "best: {'model.hidden': [" in out and out.endswith("digits-model/1\n")
    assert (tmp_path / "sweeps" / "widths" / "report.html").exists()
