"""A process that trains along with the chief."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from typing import Any

import pytest

from tfmnist.errors import DivergedError, InputError, Interrupted
from tfmnist.nn.models import Network
from tfmnist.nn.schedules import Scaled
from tfmnist.recipe import Recipe
from tfmnist.runs.peer import take_part
from tfmnist.training.events import Verdict
from tfmnist.training.loop import Trainer


class Alone:
    """In place of `Processes`: a chief that says what a test wants, and no other process."""

    rows, mode = slice(0, None, 1), "graph"

    def __init__(self, recipe: Recipe, *verdicts: Verdict, same: bool = True) -> None:
        self.recipe, self.same, self.verdicts = recipe, same, list(verdicts)
        self.digests: list[str] = []
        self.steps: list[int] = []
        self.rollbacks = iter(range(10))

    def share(self, step: Callable[..., Any], model: Network) -> Callable[..., Any]:
        return step

    @contextmanager
    def watched(self, remedy: str) -> Iterator[None]:
        yield

    def send(self) -> bytes:
        return self.recipe.to_toml().encode()

    def check_same(self, digest: str) -> None:
        self.digests.append(digest)
        if not (digest and self.same):
            raise InputError("process 1 cannot read the data")

    def send_state(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.steps.append(int(trainer.optimizer.step.numpy()))
        trainer.state.rollbacks = next(self.rollbacks)

    def describe(self, trainer: Trainer) -> str:
        return ""

    def agree(self, stop: bool = False) -> Verdict:
        return self.verdicts.pop(0)


def test_it_trains_until_the_chief_has_finished(recipe: Recipe) -> None:
    processes: Any = Alone(recipe, Verdict.CONTINUE, Verdict.CONTINUE, Verdict.FINISHED, Verdict.FINISHED)
    take_part(processes, Flag())
    assert processes.verdicts == []  # the last one came when the chief had evaluated and exported
    assert int(processes.trainer.optimizer.step.numpy()) == 7  # a block of 3, another, and the short last batch


@pytest.mark.parametrize(
    ("verdict", "error", "said"),
    [
        (Verdict.STOP, Interrupted, "stopped; process 0 has saved; start all processes again, with --resume."),
        (Verdict.DIVERGED, DivergedError, "diverged: a loss or a weight is not finite; process 0 says more."),
    ],
)
def test_it_ends_as_the_chief_does(recipe: Recipe, verdict: Verdict, error: type[Exception], said: str) -> None:
    processes: Any = Alone(recipe, Verdict.CONTINUE, verdict)
    with pytest.raises(error, match=said):
        take_part(processes, Flag())


def test_it_goes_back_with_the_chief(recipe: Recipe) -> None:
    recipe = recipe.replace({"train.on_nonfinite": "rollback"})
    processes: Any = Alone(recipe, Verdict.CONTINUE, Verdict.GO_BACK, Verdict.FINISHED, Verdict.FINISHED)
    take_part(processes, Flag())
    assert len(processes.steps) == 2
    schedule = processes.trainer.optimizer.schedule
    assert isinstance(schedule, Scaled) and float(schedule.factor.numpy()) == 0.5


def test_its_own_error_is_told(recipe: Recipe) -> None:
    processes: Any = Alone(recipe.with_values({"data.source": "/nowhere.npz"}))
    with pytest.raises(InputError, match=r"nowhere\.npz"):
        take_part(processes, Flag())
    assert processes.digests == [""]  # so that the others know


def test_other_data_are_refused(recipe: Recipe) -> None:
    processes: Any = Alone(recipe, same=False)
    with pytest.raises(InputError, match="process 1 cannot read the data"):
        take_part(processes, Flag())
