"""`tfmnist train` in several processes: joins those of TF_CONFIG, or starts them here or on a Ray cluster."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfmnist.cli.options import TrainArguments
from tfmnist.cli.process import stoppable, tensorflow_quietly
from tfmnist.errors import InputError, Interrupted
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
            if given.ray:
                peers, chief = stack.enter_context(_on_ray(given.ray, count - 1))
            else:
                peers, chief = [Peer() for _ in range(count - 1)], free_address()
            cluster, check = stack.enter_context(started(peers, chief))
        yield _join(cluster, cluster.meet(stop, check, str(recipe.train.threads)))


def train_as_peer(cluster: Cluster) -> None:
    """Trains along with the chief, which says what to train, until it has finished."""
    with stoppable() as stop:
        processes = _join(cluster, cluster.meet(stop))
        from tfmnist.runs.peer import take_part

        take_part(processes, stop)


class _ThereOnRay(Peer):
    """A process on a machine of a Ray cluster, where this object is."""

    def __init__(self) -> None:
        import ray

        super().__init__(ray.util.get_node_ip_address())

    def where(self) -> str:
        return self.address


class _OnRay:
    """What acts like a `Peer` for a process on a Ray cluster, which ends with it."""

    def __init__(self, ray: Any, actor: Any, address: str) -> None:
        self._ray, self._actor, self.address = ray, actor, address

    def start(self, environment: dict[str, str], folder: str) -> None:
        self._ray.get(self._actor.start.remote(environment, folder))

    def ended(self) -> str:
        try:
            return self._ray.get(self._actor.ended.remote())
        except self._ray.exceptions.RayError as error:
            return (str(error).strip().splitlines() or [type(error).__name__])[0]

    def stop(self, seconds: float) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):  # its machine has died, for example
            self._ray.get(self._actor.stop.remote(seconds), timeout=seconds + 5.0)
        self._ray.kill(self._actor)


@contextlib.contextmanager
def _on_ray(address: str, count: int) -> Iterator[tuple[list[_OnRay], str]]:
    """Yields processes on a Ray cluster, on different machines if possible, and an address for this one."""
    from tfmnist.sweeps.workers import connect

    ray, is_ours = connect(address)
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    options = {"num_cpus": 1, "num_gpus": int(has_gpus), "scheduling_strategy": "SPREAD"}
    try:
        actors = [ray.remote(_ThereOnRay).options(**options).remote() for _ in range(count)]
        try:
            addresses = ray.get([actor.where.remote() for actor in actors], timeout=PATIENCE)
        except ray.exceptions.GetTimeoutError:
            raise Interrupted(
                f"--ray {address}: {count} processes found no free processors within {PATIENCE:.0f} seconds; free "
                "some, or choose fewer."
            ) from None
        peers = [_OnRay(ray, actor, there) for actor, there in zip(actors, addresses, strict=True)]
        yield peers, free_address(ray.util.get_node_ip_address())
    finally:
        if is_ours:
            ray.shutdown()


def _join(cluster: Cluster, threads: str) -> "Processes":
    """Lets TensorFlow connect the processes, which have met."""
    os.environ.update(cluster.environment(cluster.index))
    with tensorflow_quietly():
        from tfmnist.training.distribute import Processes
        from tfmnist.training.threads import set_threads

    set_threads(threads_of(cluster, threads if threads == "auto" else int(threads)))
    with _deadline():
        count, is_one = len(cluster.addresses), cluster.is_one_machine
        processes = Processes(count, cluster.index, cluster.local_index, on_one_machine=is_one)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))  # which TensorFlow has taken over
    return processes


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    """Lets the system end this process if the block takes too long.

    Should another process end just now, TensorFlow would wait for ever, deaf to all that Python can do.
    """
    if not hasattr(signal, "SIGALRM"):  # on Windows
        yield
        return
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(round(PATIENCE))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
