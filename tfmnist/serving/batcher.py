"""Dynamic batching: a free thread computes all requests that are waiting, without a timer that would add latency.

The queue is bounded, and requests past their deadline are dropped.
"""

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tfmnist.serving.messages import RequestError
from tfmnist.serving.tensors import Array, count_rows

Arrays = Mapping[str, Array]


class Computation(Protocol):
    """A signature, which computes rows. Requests for the same one are computed together if it `batches`."""

    batches: bool

    def __call__(self, inputs: Arrays) -> dict[str, Array]: ...


@dataclass(eq=False)
class _Job:
    work: Callable[[], Any] | None  # called instead of a computation
    inputs: Arrays
    rows: int
    deadline: float
    future: "asyncio.Future[Any]"
    entered: float = field(default_factory=time.perf_counter)


class Batcher:
    """Computes requests in threads, those that are waiting together."""

    def __init__(
        self,
        threads: int,
        *,
        most_rows: int,
        most_waiting: int,
        batching: bool = True,
        observe: Callable[[int, float, float], None] = lambda rows, waited, computed: None,
    ):
        """Starts the threads.

        Args:
            threads: number of batches computed at a time.
            most_rows: maximum rows per batch; larger requests are split.
            most_waiting: maximum requests in the queue; further ones are refused.
            batching: whether requests are computed together.
            observe: called per batch with its rows, the seconds its first request waited, and those the batch took.
        """
        self.most_rows, self.most_waiting, self.batching, self.observe = most_rows, most_waiting, batching, observe
        self.waiting = 0
        self._queues: OrderedDict[Any, tuple[Computation | None, deque[_Job]]] = OrderedDict()  # oldest first
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name=f"batch-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def compute(self, computation: Computation, inputs: Arrays, seconds: float) -> dict[str, Array]:
        """Returns the outputs of a computation, by name.

        Raises:
            RequestError: 429 if too many requests are waiting, 504 if there is no answer within `seconds`.
        """
        sizes = {len(array) if array.ndim else 0 for array in inputs.values()}
        together = self.batching and computation.batches and len(sizes) == 1
        shapes = tuple((name, array.shape[1:]) for name, array in inputs.items())
        key = (id(computation), shapes) if together else object()
        return await self._submit(key, computation, None, inputs, seconds)

    async def run(self, work: Callable[[], Any], seconds: float) -> Any:
        """Calls a function in a thread and returns its result; raises what `compute` raises."""
        return await self._submit(object(), None, work, {}, seconds)

    async def _submit(
        self, key: Any, computation: Computation | None, work: Callable[[], Any] | None, inputs: Arrays, seconds: float
    ) -> Any:
        future = asyncio.get_running_loop().create_future()
        rows = count_rows(inputs.values()) if computation else 1
        job = _Job(work, inputs, rows, time.monotonic() + seconds, future)
        with self._changed:
            if self.waiting >= self.most_waiting:
                raise RequestError(429, f"{self.waiting} requests are already waiting; try again later")
            self._queues.setdefault(key, (computation, deque()))[1].append(job)
            self.waiting += 1
            self._changed.notify()
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise RequestError(
                504, f"no answer within {seconds:g} s; send less at a time, or try again later"
            ) from None

    def close(self) -> None:
        """Stops the threads once they finish their current batches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            computation, jobs = batch
            if not self._try(computation, jobs):
                for job in jobs:  # one failure must not fail the others
                    self._try(computation, [job])
            del batch, computation, jobs  # else an unloaded version stays in memory until the next request

    def _try(self, computation: Computation | None, jobs: list[_Job]) -> bool:
        """Computes and answers requests; returns False if several fail together."""
        try:
            self._compute(computation, jobs)
        except BaseException as error:
            if len(jobs) > 1:
                return False
            _answer(jobs, error=error)
        return True

    def _take(self) -> tuple[Computation | None, list[_Job]] | None:
        """Waits for requests and returns the next batch, all for one computation; None once closed."""
        with self._changed:
            while not self._queues:
                if self._closed:
                    return None
                self._changed.wait()
            key = next(iter(self._queues))
            computation, queue = self._queues[key]
            jobs = [queue.popleft()]
            rows = jobs[0].rows
            while queue and rows + queue[0].rows <= self.most_rows:
                jobs.append(queue.popleft())
                rows += jobs[-1].rows
            if queue:
                self._queues.move_to_end(key)  # let others go first
            else:
                del self._queues[key]
            self.waiting -= len(jobs)
            return computation, jobs

    def _compute(self, computation: Computation | None, jobs: list[_Job]) -> None:
        begin, now = time.perf_counter(), time.monotonic()
        jobs = [job for job in jobs if job.deadline > now and not job.future.cancelled()]
        if not jobs:
            return
        if computation is None:
            assert jobs[0].work
            results: list[Any] = [jobs[0].work()]
        elif len(jobs) == 1:
            results = [self._compute_one(computation, jobs[0])]
        else:
            joined = {name: np.concatenate([job.inputs[name] for job in jobs]) for name in jobs[0].inputs}
            outputs, results, start = computation(joined), [], 0
            for job in jobs:
                results.append({name: array[start : start + job.rows] for name, array in outputs.items()})
                start += job.rows
        self.observe(sum(job.rows for job in jobs), begin - jobs[0].entered, time.perf_counter() - begin)
        _answer(jobs, results)

    def _compute_one(self, computation: Computation, job: _Job) -> dict[str, Array]:
        if not computation.batches or job.rows <= self.most_rows:
            return computation(job.inputs)
        parts: list[dict[str, Array]] = []
        for start in range(0, job.rows, self.most_rows):
            if time.monotonic() > job.deadline or job.future.cancelled():
                return {}  # nobody is waiting for it
            parts.append(computation({name: a[start : start + self.most_rows] for name, a in job.inputs.items()}))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _answer(jobs: list[_Job], results: list[Any] | None = None, error: BaseException | None = None) -> None:
    """Gives each request its result, or all of them the error, in their event loop's thread."""

    def answer() -> None:
        for index, job in enumerate(jobs):
            if job.future.done():
                continue
            if error is None and results is not None:
                job.future.set_result(results[index])
            else:
                job.future.set_exception(error or RuntimeError("no result"))

    with contextlib.suppress(RuntimeError):  # the loop has ended
        jobs[0].future.get_loop().call_soon_threadsafe(answer)
