"""Transfer learning: a network starts from the weights of a finished run, with a new last layer for other classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfmnist.errors import InputError
from tfmnist.nn.models import Network
from tfmnist.runs.result import Result, read_weights


def start_from(model: Network, class_names: Sequence[str], run_dir: str | Path, sha256: str = "") -> str:
    """Sets a network's weights to those that a finished run ended with.

    The last layer (in a network that is not a sequence of layers, the one that its `forward` reads last) is copied
    only if the run has the same classes; otherwise it keeps its own initial weights.

    Args:
        model: the network; its layers must have the names and shapes of the run's.
        class_names: names of the classes that it distinguishes.
        run_dir: the run's folder.
        sha256: the run's expected `weights_sha256`; empty for any.

    Returns:
        The run's `weights_sha256`.

    Raises:
        InputError: the folder holds no finished run, weights other than `sha256`, or those of another network.
    """
    path = Path(run_dir)
    result, weights = Result.read(path), read_weights(path)
    digest = result.weights_sha256
    if sha256 not in ("", digest):
        raise InputError(
            f"{path}: its weights are {digest[:12]}..., recipe key 'model.init_sha256' says {sha256[:12]}...; name "
            "the right run in model.init_from, or clear model.init_sha256."
        )
    own = model.named_variables()
    head = model.last_variables()
    layer = next(iter(head), "").rpartition("/")[0]  # of the run, whose last layer may have others
    for name, variable in own.items():
        if name in head and result.data.class_names != tuple(class_names):
            continue
        array = weights.get(name, np.empty(0))
        if list(array.shape) != variable.shape.as_list():
            actual = str(list(array.shape)) if name in weights else "missing"
            raise InputError(
                f"{path}: its {name} is {actual}, the recipe's {variable.shape.as_list()}; copy that run's [model] "
                "section to the recipe, or leave RECIPE out to use the run's."
            )
        variable.assign(array)
    if unknown := [name for name in weights if name not in own and not (layer and name.startswith(f"{layer}/"))]:
        raise InputError(
            f"{path}: its {unknown[0]} is {list(weights[unknown[0]].shape)}, the recipe's is missing; copy that "
            "run's [model] section to the recipe, or leave RECIPE out to use the run's."
        )
    return digest
