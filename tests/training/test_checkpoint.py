"""Checkpoints: what is restored is what was saved, to the last bit, and damage changes nothing."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.nn.models import CNN, MLP, Network
from tfmnist.nn.optimizers import OPTIMIZERS, Adam
from tfmnist.recipe import Augment, Train
from tfmnist.system.files import read_npz, write_npz
from tfmnist.training.checkpoint import ends_of_epochs, list_checkpoints, restore_checkpoint, save_checkpoint
from tfmnist.training.events import Epoch
from tfmnist.training.loop import Trainer

Arrays = dict[str, npt.NDArray[Any]]
SETTINGS: dict[str, Any] = {"epochs": 3, "batch_size": 16, "block": 2, "compile": "eager"}


def noise(count: int = 75, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    return Split(random.integers(0, 256, [count, 6, 6], np.uint8), np.arange(count) % 3)


def make(kind: str = "adam", model: Network | None = None, augment: Augment = Augment(), **settings: Any) -> Trainer:
    network = model or MLP((6, 6), [5], 3, batch_norm=True, dropout=0.3)
    validation = noise(20, seed=1) if settings.get("patience") else None
    optimizer = OPTIMIZERS[kind](network.parameters, 0.01)
    return Trainer(network, optimizer, noise(), validation, Train(**{**SETTINGS, **settings}), augment=augment)


def advance(trainer: Trainer, events: int) -> Trainer:
    for _ in zip(range(events), trainer.run()):
        pass
    return trainer


def everything(trainer: Trainer) -> Arrays:
    """All that a checkpoint must keep, but for times, which differ in every run."""
    arrays: Arrays = {name: variable.numpy() for name, variable in trainer.named_variables().items()}
    arrays |= {f"best/{name}": array for name, array in (trainer.best_weights or {}).items()}
    state = asdict(trainer.state)
    rows = [state, *state.pop("history")]
    text = [{key: row[key] for key in row if key not in ("seconds", "images_per_second")} for row in rows]
    return {**arrays, "state": np.array(repr(text))}


def assert_equal(left: Arrays, right: Arrays) -> None:
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def rewrite(path: Path, change: Callable[[Arrays], Any]) -> None:
    arrays = read_npz(path)
    change(arrays)
    write_npz(path, arrays)


def assert_refused(path: Path, trainer: Trainer, *parts: str) -> None:
    before, best = everything(trainer), trainer.best_weights
    with pytest.raises(InputError) as caught:
        restore_checkpoint(path, trainer)
    message = str(caught.value)
    assert message.isprintable() and message.startswith(f"{path}: ")
    assert all(part in message for part in parts), message
    assert_equal(everything(trainer), before)
    assert trainer.best_weights is best


# Saving and restoring


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_everything_is_restored_to_the_last_bit(tmp_path: Path, kind: str) -> None:
    trainer = advance(make(kind, average=0.9, patience=2), 5)  # past the first epoch, in the middle of the second
    assert trainer.best_weights and trainer.state.epoch == 1 and trainer.state.step
    path = save_checkpoint(tmp_path, trainer, "")
    restored = make(kind, average=0.9, patience=2)
    restore_checkpoint(path, restored)
    assert_equal(everything(restored), everything(trainer))
    assert restored.state == trainer.state


def test_a_checkpoint_is_read_with_numpy_alone(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "deep" / "checkpoints", advance(make(average=0.9), 1), 'name = "ü"\n')
    assert path.name == "step-00000002.npz"
    with np.load(path, allow_pickle=False) as arrays:
        assert str(arrays["recipe"]) == 'name = "ü"\n'
        assert arrays["weights/dense_1/kernel"].shape == arrays["averages/dense_1/kernel"].shape == (36, 5)
        assert arrays["optimizer/m/dense_1/kernel"].shape == (36, 5)
        assert arrays["optimizer/step"] == 2


def full(**settings: Any) -> Trainer:
    return make(augment=Augment(shift=1, rotate=10), average=0.9, patience=3, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, list[Path]]:
    """A run that was not stopped, and its checkpoints: after the steps 2, 4 and 5 of each of three epochs."""
    trainer, folder = full(), tmp_path_factory.mktemp("whole")
    paths = [save_checkpoint(folder / str(number), trainer, "") for number, _ in enumerate(trainer.run())]
    assert trainer.finished and len(paths) == 9
    return trainer, paths


@pytest.mark.parametrize(("events", "block"), [(1, 2), (3, 2), (5, 2), (8, 2), (1, 3)])
def test_a_resumed_run_equals_one_that_was_not_stopped(
    whole: tuple[Trainer, list[Path]], events: int, block: int
) -> None:
    resumed = full(block=block)
    restore_checkpoint(whole[1][events - 1], resumed)
    rest = list(resumed.run())
    assert isinstance(rest[-1], Epoch) and rest[-1].step == 15
    if block == 2:
        assert len(rest) == 9 - events
        assert_equal(everything(resumed), everything(whole[0]))
    assert_equal(resumed.final_weights(), whole[0].final_weights())


@pytest.mark.parametrize("compile", ["graph", "xla"])
def test_a_resumed_run_is_the_same_where_it_is_compiled(tmp_path: Path, compile: str) -> None:
    def trainer() -> Trainer:
        return make(model=MLP((6, 6), [5], 3, dropout=0.3), compile=compile, epochs=2, batch_size=25)

    undisturbed, resumed = trainer(), trainer()
    paths = [save_checkpoint(tmp_path / str(n), undisturbed, "") for n, _ in enumerate(undisturbed.run())]
    restore_checkpoint(paths[0], resumed)
    assert (resumed.state.step, resumed.plan.steps) == (2, 3)
    list(resumed.run())
    assert_equal(everything(resumed), everything(undisturbed))


def test_a_finished_run_stays_finished(tmp_path: Path) -> None:
    whole = advance(make(epochs=1), 100)
    resumed = make(epochs=1)
    restore_checkpoint(save_checkpoint(tmp_path, whole, ""), resumed)
    assert resumed.finished and list(resumed.run()) == []


# The folder


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    trainer = make()
    names = [save_checkpoint(tmp_path, trainer, "").name for _ in trainer.run()]
    assert [path.name for path in list_checkpoints(tmp_path)] == names[-2:]
    assert len(list(tmp_path.iterdir())) == 3
    assert list_checkpoints(tmp_path / "none") == []


def test_the_newest_at_the_end_of_an_epoch_is_kept_too(tmp_path: Path) -> None:
    trainer, kept = make(), []
    for _ in trainer.run():  # after the steps 2, 4 and 5 of each epoch
        save_checkpoint(tmp_path, trainer, "")
        paths = list_checkpoints(tmp_path)
        kept.append([int(path.stem.removeprefix("step-")) for path in paths])
        assert [path.name for path in ends_of_epochs(paths, trainer)] == [
            path.name for path, step in zip(paths, kept[-1]) if step in (5, 10, 15)
        ]
    assert kept == [[2], [2, 4], [4, 5], [5, 7], [5, 7, 9], [9, 10], [10, 12], [10, 12, 14], [14, 15]]


def test_before_the_first_step_is_between_epochs_too(tmp_path: Path) -> None:
    trainer = make()
    paths = [save_checkpoint(tmp_path, trainer, "")]
    assert paths[0].name == "step-00000000.npz"
    paths += [save_checkpoint(tmp_path, trainer, "") for _ in zip(range(2), trainer.run())]
    assert ends_of_epochs(paths, trainer) == paths[:1]
    assert list_checkpoints(tmp_path) == paths


def test_the_newest_is_kept_beyond_a_hundred_million_steps(tmp_path: Path) -> None:
    trainer, names = make(), []
    for step in (99_999_998, 99_999_999, 100_000_000):
        trainer.optimizer.step.assign(step)
        names.append(save_checkpoint(tmp_path, trainer, "").name)
    assert [path.name for path in list_checkpoints(tmp_path)] == names[-2:]


# Damage


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path, advance(make(average=0.9, patience=2), 5), "")


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_refused(saved: Path, fraction: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(len(whole) * fraction)])
    assert_refused(saved, make(average=0.9, patience=2), "damaged", "delete it")


def test_changed_bytes_are_refused_or_harmless(saved: Path) -> None:
    whole, trainer = saved.read_bytes(), make(average=0.9, patience=2)
    restore_checkpoint(saved, trainer)
    wanted = everything(trainer)
    for index in np.random.default_rng(0).integers(0, len(whole), 150).tolist():
        saved.write_bytes(whole[:index] + bytes([whole[index] ^ 0xFF]) + whole[index + 1 :])
        try:
            restore_checkpoint(saved, trainer)
        except InputError as error:
            assert str(error).startswith(f"{saved}: ")
        assert_equal(everything(trainer), wanted)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "step-00000001.npz", make())


@pytest.mark.parametrize("state", ["", "[]", "3", "{", '{"epoch": 1, "other": 2}'])
def test_a_state_that_is_none_is_refused(saved: Path, state: str) -> None:
    rewrite(saved, lambda arrays: arrays.update(state=np.array(state)))
    assert_refused(saved, make(average=0.9, patience=2), "damaged")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("weights/dense_1/kernel", np.zeros([5, 36], np.float32)),
        ("weights/logits/bias", np.zeros([3], np.float64)),
        ("weights/logits/bias", np.array(["a", "b", "c"])),
        ("optimizer/step", np.zeros([1], np.int64)),
        ("optimizer/step", np.array(1.5)),
        ("averages/logits/kernel", np.zeros([], np.float32)),
        ("best/logits/kernel", np.zeros([3, 5], np.float32)),
    ],
)
def test_an_array_of_another_shape_or_type_is_refused(saved: Path, name: str, array: npt.NDArray[Any]) -> None:
    rewrite(saved, lambda arrays: arrays.update({name: array}))
    assert_refused(saved, make(average=0.9, patience=2), name)


@pytest.mark.parametrize(
    "name", ["weights/dense_1/kernel", "optimizer/step", "averages/logits/bias", "best/logits/bias"]
)
def test_an_array_that_is_missing_is_refused(saved: Path, name: str) -> None:
    rewrite(saved, lambda arrays: arrays.pop(name))
    assert_refused(saved, make(average=0.9, patience=2), name)


@pytest.mark.parametrize(
    "other",
    [
        lambda: make("momentum", average=0.9, patience=2),
        lambda: make("rmsprop", average=0.9, patience=2),
        lambda: make("sgd", average=0.9, patience=2),
        lambda: make(patience=2),
        lambda: make(model=MLP((6, 6), [6], 3, batch_norm=True), average=0.9, patience=2),
        lambda: make(model=MLP((6, 6), [5], 3), average=0.9, patience=2),
        lambda: make(model=MLP((6, 6), [5], 3, batch_norm=True, bias=False), average=0.9, patience=2),
        lambda: make(model=CNN((6, 6), ["conv 2 3x3"], 3), average=0.9, patience=2),
    ],
    ids=["momentum", "rmsprop", "sgd", "no averages", "wider", "no batch norm", "no bias", "cnn"],
)
def test_a_checkpoint_of_another_recipe_is_refused(saved: Path, other: Callable[[], Trainer]) -> None:
    assert_refused(saved, other(), "belongs to another recipe")


def test_a_run_without_averages_lends_none(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, advance(make(), 1), "")
    assert_refused(path, make(average=0.9), "averages/", "belongs to another recipe")


def test_a_restored_optimizer_goes_on_counting(tmp_path: Path) -> None:
    trainer = make()
    restore_checkpoint(save_checkpoint(tmp_path, advance(make(), 2), ""), trainer)
    assert isinstance(trainer.optimizer, Adam)
    assert int(trainer.optimizer.step.numpy()) == 4
    assert float(np.abs(trainer.optimizer.slots["v"][0].numpy()).max()) > 0
