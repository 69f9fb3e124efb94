"""`tfmnist train` in several processes: joins those of TF_CONFIG, or starts them here or on a Ray cluster."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfmnist.cli.options import TrainArguments
from tfmnist.cli.process import stoppable, tensorflow_quietly
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.cluster import PATIENCE, Check, Cluster, Peer, check_recipe, free_address, started, threads_of

if TYPE_CHECKING:
    from tfmnist.training.distribute import Processes


@contextlib.contextmanager
def joined(
    recipe: Recipe, given: TrainArguments, cluster: Cluster | None, stop: threading.Event
) -> "Iterator[Processes | None]":
    """Yields the processes of a training, of which this is the chief; None if it is alone.

    Args:
        recipe: of the run.
        given: the arguments of the command.
        cluster: what TF_CONFIG names, if it does.
        stop: once set, waiting for the others ends.

    Raises:
        InputError: the numbers or the recipe do not allow it.
        Interrupted: another process did not start in time, or has ended.
    """
    count = len(cluster.addresses) if cluster else given.processes
    if cluster and given.processes not in (None, count):
        raise InputError(f"--processes is {given.processes} but TF_CONFIG names {count}; leave --processes out.")
    if given.ray and (cluster or count is None):
        remedy = "leave --ray out" if cluster else "give --processes too, to say how many"
        what = "TF_CONFIG names the processes already" if cluster else "it starts the other processes of a training"
        raise InputError(f"--ray {given.ray}: {what}; {remedy}.")
    assert count is not None
    check_recipe(recipe, count, here=not (cluster or given.ray), profiled=given.profile)
    if count == 1:
        yield None
        return
    with contextlib.ExitStack() as stack:
        check: Check | None = None
        if cluster is None:
            peers, chief = [Peer() for _ in range(count - 1)], free_address()
            cluster, check = stack.enter_context(started(peers, chief))
        yield _join(cluster, cluster.meet(stop, check, str(recipe.train.threads)))


def train_as_peer(cluster: Cluster) -> None:
    """Trains along with the chief, which says what to train, until it has finished."""
    with stoppable() as stop:
        processes = _join(cluster, cluster.meet(stop))
        from tfmnist.runs.peer import take_part

        take_part(processes, stop)


def _join(cluster: Cluster, threads: str) -> "Processes":
    """Lets TensorFlow connect the processes, which have met."""
    os.environ.update(cluster.environment(cluster.index))
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(round(PATIENCE))  # should one end now, TensorFlow would wait for ever, deaf to other signals
    with tensorflow_quietly():
        from tfmnist.training.distribute import Processes
        from tfmnist.training.threads import set_threads

    set_threads(threads_of(cluster, threads if threads == "auto" else int(threads)))
    processes = Processes(len(cluster.addresses), cluster.index, cluster.local_index)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))  # which TensorFlow has taken over
    return processes
