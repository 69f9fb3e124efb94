"""`train.on_nonfinite = "rollback"`: a training that diverges goes back to where its epoch began, and learns slower."""

from pathlib import Path

from tfmnist.errors import DivergedError
from tfmnist.nn.schedules import Scaled
from tfmnist.training.checkpoint import ends_of_epochs, list_checkpoints, restore_checkpoint
from tfmnist.training.loop import Trainer

MOST = 3
"""How often a run goes back before it fails."""


class Rollback:
    """Takes a trainer back; made once it has its state, whose learning rate it then has.

    It depends on nothing but the training, so an interrupted run goes back where an uninterrupted one does.

    Args:
        folder: of the checkpoints, among which is the newest of those taken at the end of an epoch.
        trainer: whose optimizer has a `Scaled` schedule.
    """

    def __init__(self, folder: Path, trainer: Trainer):
        self._folder, self._trainer = folder, trainer
        slow_down(trainer)

    def go_back(self, error: DivergedError) -> None:
        """Restores the state at the start of the epoch, with half the learning rate; notes that for the history.

        Raises:
            DivergedError: `error`, if the run has gone back too often.
        """
        count, notes = self._trainer.state.rollbacks + 1, self._trainer.state.notes
        if count > MOST:
            raise DivergedError(f"{error} It went back {MOST} times and halved the learning rate each time.") from None
        checkpoints = list_checkpoints(self._folder)
        start = ends_of_epochs(checkpoints, self._trainer)[-1]
        restore_checkpoint(start, self._trainer)
        for later in checkpoints[checkpoints.index(start) + 1 :]:  # which would be resumed in place of those to come
            later.unlink()
        state = self._trainer.state
        where = str(error).partition(", learning rate")[0]
        state.rollbacks = count
        state.notes = [*notes, f"rollback {count} of {MOST}: {where}; again with {0.5**count:g} of the learning rate"]
        slow_down(self._trainer)


def slow_down(trainer: Trainer) -> None:
    """Gives a trainer, if its schedule is `Scaled`, the learning rate that it has after so many rollbacks."""
    if isinstance(schedule := trainer.optimizer.schedule, Scaled):
        schedule.factor.assign(0.5**trainer.state.rollbacks)
