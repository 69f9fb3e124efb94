"""A sweep in TensorBoard's tab HPARAMS, as that tab's own code reads it."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import InputError
from tfmnist.sweeps.search import sweep as run_sweep
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import SweepTable

TEXT = """
[fixed]
"data.source" = "{source}"
"data.validation" = 100
"train.epochs" = 2
"train.compile" = "graph"
"train.tensorboard" = true

[space]
"model.hidden" = [[4], [8, 4]]
"train.block" = ["auto", 2]
"optimizer.kind" = ["sgd", "momentum"]
"optimizer.learning_rate" = {{low = 0.001, high = 0.1, log = true}}
"optimizer.momentum" = {{low = 0.5, high = 0.9, when = {{"optimizer.kind" = "momentum"}}}}
"train.batch_size" = {{low = 32, high = 64}}

[search]
sampler = "random"
trials = 5
seeds = [0, 1]
confirm = 0
"""


def test_trials_are_compared_by_their_results(small: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams import metadata

    result = run_sweep(Sweep.parse(TEXT.format(source=small), "some"), tmp_path / "sweep", workers=-1)
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "sweep")).Reload()
    table = SweepTable.read(tmp_path / "sweep")
    assert len(table.trials) == len(result.trials) == 5
    for trial in table.trials:
        for seed, value in zip((0, 1), trial.results, strict=True):
            run = f"trials/{trial.number:04}-seed-{seed}/tensorboard"

            def content(tag: str, run: str = run) -> bytes:
                return runs.SummaryMetadata(run, tag).plugin_data.content

            start = metadata.parse_session_start_info_plugin_data(content("_hparams_/session_start_info"))
            assert start.group_name == f"trial {trial.number:04}"
            shown = {key: _value(start.hparams[key]) for key in start.hparams}
            expected = {**trial.values, "model.hidden": str(list(trial.values["model.hidden"]))}
            assert shown == {**expected, "train.block": str(trial.values["train.block"])}
            assert ("optimizer.momentum" in shown) == (shown["optimizer.kind"] == "momentum")
            (point,) = runs.Tensors(run, "trial/validation_accuracy")
            assert point.tensor_proto.float_val[0] == pytest.approx(value)
            experiment = metadata.parse_experiment_plugin_data(content("_hparams_/experiment"))
            names = ["hidden", "block", "kind", "learning_rate", "momentum", "batch_size"]
            assert [info.display_name for info in experiment.hparam_infos] == names
            assert [metric.name.tag for metric in experiment.metric_infos] == [
                "trial/validation_accuracy",
                "trial/seconds",
            ]
            domains = {info.name: _domain(info) for info in experiment.hparam_infos}
            assert domains == {
                "model.hidden": ["[4]", "[8, 4]"],
                "train.block": ["2", "auto"],
                "optimizer.kind": ["momentum", "sgd"],
                "optimizer.learning_rate": (0.001, 0.1),
                "optimizer.momentum": (0.5, 0.9),
                "train.batch_size": (32, 64),
            }


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("kind"))


def _domain(info: Any) -> Any:
    if info.WhichOneof("domain") == "domain_discrete":
        return sorted(_value(value) for value in info.domain_discrete.values)
    return info.domain_interval.min_value, info.domain_interval.max_value


def test_without_the_package_no_trial_begins(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tfmnist.runs.tensorboard", "tfmnist.sweeps.hparams"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard.plugins.hparams", None)
    with pytest.raises(InputError, match=r"pip install 'tfmnist\[tensorboard\]'"):
        run_sweep(Sweep.parse(TEXT.format(source=small), "some"), tmp_path / "sweep", workers=-1)
    assert not (tmp_path / "sweep").exists()
