"""A process that trains along with the chief: it gets recipe and state, and writes nothing."""

import tempfile
from pathlib import Path
from threading import Event as Flag

from tfmnist.errors import DivergedError, InputError, Interrupted, TfmnistError
from tfmnist.recipe import Recipe
from tfmnist.runs.build import digest_of, load_section
from tfmnist.runs.own_code import errors_in_one_line
from tfmnist.runs.rollback import slow_down
from tfmnist.runs.train import prepare
from tfmnist.training.distribute import Processes
from tfmnist.training.events import Verdict
from tfmnist.training.loop import Trainer


def take_part(processes: Processes, stop: Flag) -> None:
    """Trains with the others, and waits until the chief has finished.

    Args:
        processes: of which this is not the chief.
        stop: once set, all processes stop after the current block, and the chief saves.

    Raises:
        InputError: the data cannot be read here, or are not the chief's.
        Interrupted: the training was stopped, or another process has ended.
        DivergedError: a loss or a weight is no longer finite.
    """
    with processes.watched("start all processes again, with --resume."):
        recipe = _receive_recipe(processes)
        error: TfmnistError | None = None
        trainer: Trainer | None = None
        digest = ""
        try:
            digits = load_section(recipe.data, recipe.train.seed)
            digest = digest_of(digits)
            with errors_in_one_line():
                _, trainer = prepare(recipe, digits, is_new=False, processes=processes)
        except TfmnistError as failure:
            error = failure
        try:
            processes.check_same(digest)
        except InputError as failure:
            raise error or failure from None
        assert trainer
        _train(trainer, processes, stop)
        processes.agree()  # after evaluation and export: TensorFlow takes those who leave earlier for dead


def _receive_recipe(processes: Processes) -> Recipe:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "recipe.toml")
        path.write_bytes(processes.send())
        return Recipe.load(path)


def _train(trainer: Trainer, processes: Processes, stop: Flag) -> None:
    processes.send_state(trainer)
    if trainer.finished:
        return
    trainer.compile()
    processes.describe(trainer)
    verdict = Verdict.GO_BACK
    while verdict == Verdict.GO_BACK:
        state = trainer.state
        slow_down(trainer)
        for block in trainer.blocks(epochs=range(state.epoch, trainer.settings.epochs), skip=state.step):
            trainer.do_steps(block.images, block.labels, block.end - block.first)
            if (verdict := processes.agree(stop=stop.is_set())) != Verdict.CONTINUE:
                break
        if verdict == Verdict.GO_BACK:
            processes.send_state(trainer)
    if verdict == Verdict.DIVERGED:
        raise DivergedError("diverged: a loss or a weight is not finite; process 0 says more.")
    if verdict == Verdict.STOP:
        raise Interrupted("stopped; process 0 has saved; start all processes again, with --resume.")
