"""Checkpoints: one `.npz` file per checkpoint, readable with NumPy alone, written whole or not at all.

It holds `weights/...`, `optimizer/...` (slots and step), `averages/...` and `best/...` if there are any, and as text
`state` (JSON) and `recipe` (TOML). The state of iterators or generators is not needed: order, augmentation and dropout
are functions of the seed, the epoch and the step. Each array has a checksum, so a damaged file is detected.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tfmnist.errors import InputError
from tfmnist.system.files import read_npz, write_npz
from tfmnist.training.loop import State, Trainer

_KEEP = 2  # the newest, and the one before in case it is damaged


def save_checkpoint(folder: Path, trainer: Trainer, recipe: str) -> Path:
    """Writes `folder/step-NNNNNNNN.npz`; removes all but the newest two, and the newest at the end of an epoch."""
    arrays = pack(trainer) | {"recipe": np.array(recipe)}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{int(arrays['optimizer/step']):08d}.npz"
    write_npz(path, arrays)
    checkpoints = list_checkpoints(folder)
    kept = {*checkpoints[-_KEEP:], *ends_of_epochs(checkpoints, trainer)[-1:]}
    for old in checkpoints:
        if old not in kept:
            old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints, oldest first."""
    return sorted(folder.glob("step-*.npz"), key=lambda path: (len(path.name), path.name))


def ends_of_epochs(checkpoints: Sequence[Path], trainer: Trainer) -> list[Path]:
    """Returns those of the checkpoints that were taken between two epochs, or before the first."""
    return [path for path in checkpoints if int(path.stem.rpartition("-")[2]) % max(1, trainer.plan.steps) == 0]


def restore_checkpoint(path: Path, trainer: Trainer) -> None:
    """Restores weights, slots, averages and state; on an error the trainer is unchanged.

    Raises:
        InputError: the file is damaged, or belongs to another network or optimizer.
    """
    try:
        arrays = read_npz(path)
        state = State(**json.loads(str(arrays["state"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: the checkpoint is damaged ({error}); delete it to resume from the one before."
        ) from None
    unpack(
        {name: array for name, array in arrays.items() if name not in ("recipe", "state")}, state, trainer, str(path)
    )


def pack(trainer: Trainer) -> dict[str, np.ndarray]:
    """Returns weights, slots, averages and state."""
    arrays = {name: variable.numpy() for name, variable in trainer.named_variables().items()}
    arrays |= {f"best/{name}": array for name, array in (trainer.best_weights or {}).items()}
    return arrays | {"state": np.array(json.dumps(asdict(trainer.state)))}


def unpack(arrays: Mapping[str, np.ndarray], state: State, trainer: Trainer, source: str) -> None:
    """Gives a trainer what `pack` has returned; on an error it is unchanged.

    Raises:
        InputError: the arrays, from `source`, are those of another network or optimizer.
    """
    variables = trainer.named_variables()
    expected = {name: _kind(variable.numpy()) for name, variable in variables.items()}
    if any(name.startswith("best/") for name in arrays):
        expected |= {
            name.replace("weights/", "best/", 1): kind for name, kind in expected.items() if name.startswith("weights/")
        }
    actual = {name: _kind(array) for name, array in arrays.items()}
    for name in [*expected, *actual]:
        kind, wanted = actual.get(name, "missing"), expected.get(name, "nothing")
        if kind != wanted:
            raise InputError(
                f"{source}: {name} is {kind}, expected {wanted}; the checkpoint belongs to another recipe."
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])
    best = {name.removeprefix("best/"): array for name, array in arrays.items() if name.startswith("best/")}
    trainer.best_weights = best or None
    trainer.state = state


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
