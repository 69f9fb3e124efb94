"""The scripts of experiments/own: short, and each trains, repeats, exports, and is answered by the export alone.

What a recipe can name also stops and resumes exactly.
"""

import runpy
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.errors import Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.train import resume_events, run_events

OWN = Path(__file__).parents[2] / "experiments" / "own"
SCRIPTS = ["residual", "two_branches", "focal", "lion", "cutout", "dataset"]

# in a process that cannot import this package
ANSWER = """
import sys
sys.modules["tfmnist"] = None
import numpy as np
import tensorflow as tf
model, images, answer = sys.argv[1:]
serve = tf.saved_model.load(model).signatures["serving_default"]
np.save(answer, serve(images=tf.constant(np.load(images)))["logits"].numpy())
"""

# what a recipe says to use each
NAMED: dict[str, dict[str, Any]] = {
    "residual": {"model.kind": "residual.py:make", "model.options.filters": 4, "train.batch_size": 20},
    "two_branches": {"model.kind": "two_branches.py:TwoBranches", "model.options.units": 8},
    "focal": {"loss.kind": "focal.py:focal", "loss.options.gamma": 1.5},
    "lion": {"optimizer.kind": "lion.py:Lion", "optimizer.options.decay": 0.1, "model.hidden": [8]},
}


@pytest.fixture(scope="module")
def digits(small: Path) -> tfmnist.Digits:
    return tfmnist.load(small, validation=100)


def answers(model: Path, images: Any, folder: Path) -> Any:
    """The logits of an exported model, in a process without this package."""
    np.save(folder / "images.npy", images)
    command = [sys.executable, "-c", ANSWER, str(model), str(folder / "images.npy"), str(folder / "answer.npy")]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return np.load(folder / "answer.npy")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_trains_repeats_and_exports(
    name: str, digits: tfmnist.Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert len((OWN / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 30
    monkeypatch.setattr(tfmnist, "load", lambda source: digits)
    fit: Callable[..., Any] = tfmnist.fit
    steps = {"steps_per_epoch": 20} if name == "dataset" else {}
    monkeypatch.setattr(tfmnist, "fit", lambda *args, **options: fit(*args, **{**options, "progress": False, **steps}))
    monkeypatch.chdir(tmp_path)
    ends = [runpy.run_path(str(OWN / f"{name}.py"), run_name="__main__") for _ in range(2)]
    outputs = [tfmnist.load_exported(f"models/{name}/{version}").predict(digits.test.images) for version in (1, 2)]
    assert np.array_equal(outputs[0].logits, outputs[1].logits), "it repeats to the last bit"
    model = ends[1]["model"]
    accuracy = tfmnist.evaluate(model, digits.test).accuracy
    assert accuracy > 0.2 and f"{accuracy}" in capsys.readouterr().out
    before = ends[1]["make"]((28, 28), 10, seed=0) if name == "residual" else None
    if before is not None:
        moved = {
            key for key, v in model.named_variables().items() if not np.array_equal(v, before.named_variables()[key])
        }
        assert moved == set(model.named_variables()), "every nested variable is trained"
    alone = answers(Path(f"models/{name}/2"), digits.test.images[:50], tmp_path)
    np.testing.assert_allclose(alone, outputs[1].logits[:50], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMED)
def test_what_a_recipe_names_stops_and_resumes_exactly(name: str, small: Path, tmp_path: Path) -> None:
    kinds = {key: f"{OWN}/{value}" if key.endswith(".kind") else value for key, value in NAMED[name].items()}
    data = {"data.source": str(small), "data.validation": 100, "train.epochs": 2, "train.block": 3}
    recipe = Recipe().replace({**kinds, **data, "train.average": 0.9, "export.report": False})
    whole = tfmnist.run(recipe, tmp_path / "whole", progress=False)
    path, stop = tmp_path / "run", threading.Event()
    stops, last = 0, None
    for start in range(20):
        events = resume_events(path, stop=stop) if start else run_events(recipe, path, stop)
        stop.clear()
        try:
            for number, event in enumerate(events):
                last = event
                if number == 1 + start % 2:
                    stop.set()
            break
        except Interrupted:
            stops += 1
    assert stops > 1 and isinstance(last, tfmnist.Run)
    assert last.result["weights_sha256"] == whole.result["weights_sha256"]
    images = tfmnist.load(small, validation=100).test.images[:50]
    expected = tfmnist.load_exported(path).predict(images).logits
    np.testing.assert_allclose(answers(path / "model" / "1", images, tmp_path), expected, rtol=1e-4, atol=1e-5)


def test_a_key_of_the_users_network_is_swept(small: Path, tmp_path: Path) -> None:
    text = (OWN / "filters.toml").read_text(encoding="utf-8")
    fixed = f'"data.source" = "{small.as_posix()}"\n"data.validation" = 100\n"train.batch_size" = 50\n'
    for name in ("residual.py", "residual.toml"):
        (tmp_path / name).write_bytes((OWN / name).read_bytes())
    (tmp_path / "filters.toml").write_text(text.replace("[fixed]\n", f"[fixed]\n{fixed}"), encoding="utf-8")
    tables = []
    for number in range(2):
        result = tfmnist.sweep(tmp_path / "filters.toml", tmp_path / f"sweep-{number}", workers=-1, progress=False)
        assert [trial.values for trial in result.trials] == [{"model.options.filters": n} for n in (8, 16, 32)]
        assert {trial.state for trial in result.trials} == {"done"}
        weights = [
            np.load(folder) for folder in sorted((result.path / "trials").glob("*/checkpoints/step-00000020.npz"))
        ]
        assert [w["weights/stem/kernel"].shape[-1] for w in weights] == [8, 16, 32]
        tables.append([trial.result for trial in result.trials])
    assert tables[0] == tables[1]
    best = Recipe.load(tmp_path / "sweep-0" / "best.toml")
    assert best.model.options["filters"] in (8, 16, 32) and best.model.source_sha256
    (tmp_path / "residual.py").write_text((OWN / "residual.py").read_text() + "\n# changed\n")
    with pytest.raises(tfmnist.InputError, match="before it was changed"):
        tfmnist.sweep(tmp_path / "filters.toml", tmp_path / "sweep-0", workers=-1, progress=False)
