"""Batches: what waits is computed together, split as it was, within bounds of number and time."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tfmnist.serving.batcher import Batcher
from tfmnist.serving.messages import RequestError
from tfmnist.serving.tensors import Array


class Doubling:
    """Doubles its rows; waits for `gate` first, and refuses negative ones."""

    def __init__(self, batches: bool = True):
        self.batches, self.rows, self.gate = batches, list[int](), threading.Event()
        self.gate.set()

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.rows.append(len(inputs["x"]))
        assert self.gate.wait(10)
        if inputs["x"].min(initial=0) < 0:
            raise RequestError(400, "negative")
        return {"twice": inputs["x"] * 2, "x": inputs["x"]}


@pytest.fixture
def batches() -> list[tuple[int, float, float]]:
    return []


@pytest.fixture
def batcher(batches: list[tuple[int, float, float]]) -> Iterator[Batcher]:
    made = Batcher(1, most_rows=8, most_waiting=20, observe=lambda *batch: batches.append(batch))
    yield made
    made.close()


async def fill(batcher: Batcher, computation: Doubling, *requests: Any, seconds: float = 10) -> list[Any]:
    """Sends requests while the one thread is busy with another computation."""
    busy = Doubling()
    busy.gate.clear()
    tasks = [asyncio.create_task(batcher.compute(busy, {"x": np.zeros(1)}, 10))]
    while not busy.rows:
        await asyncio.sleep(0.001)
    tasks += [asyncio.create_task(batcher.compute(computation, {"x": np.array(x)}, seconds)) for x in requests]
    await asyncio.sleep(0.01)
    busy.gate.set()
    return (await asyncio.gather(*tasks, return_exceptions=True))[1:]


def test_what_waits_is_computed_together_and_split(batcher: Batcher, batches: list[tuple[int, float, float]]) -> None:
    doubling = Doubling()
    answers = asyncio.run(fill(batcher, doubling, [1, 2], [], [3], [4, 5, 6], [7, 8, 9]))
    assert [answer["twice"].tolist() for answer in answers] == [[2, 4], [], [6], [8, 10, 12], [14, 16, 18]]
    assert doubling.rows == [6, 3]  # at most 8
    assert [rows for rows, _, _ in batches] == [1, 6, 3]
    assert batches[1][1] > 0.005 and batches[1][2] >= 0 and batcher.waiting == 0


def test_a_lone_request_does_not_wait(batcher: Batcher) -> None:
    doubling = Doubling()
    begin = time.perf_counter()
    answer = asyncio.run(batcher.compute(doubling, {"x": np.arange(3)}, 10))
    assert answer["twice"].tolist() == [0, 2, 4] and time.perf_counter() - begin < 1


def test_a_large_request_is_computed_in_parts(batcher: Batcher) -> None:
    doubling = Doubling()
    answer = asyncio.run(batcher.compute(doubling, {"x": np.arange(20)}, 10))
    assert answer["twice"].tolist() == list(range(0, 40, 2)) and doubling.rows == [8, 8, 4]


def test_rows_of_other_shapes_and_computations_are_apart(batcher: Batcher) -> None:
    alone = Doubling(batches=False)
    answers = asyncio.run(fill(batcher, alone, [1], [2]))
    assert [answer["twice"].tolist() for answer in answers] == [[2], [4]] and alone.rows == [1, 1]
    doubling = Doubling()
    answers = asyncio.run(fill(batcher, doubling, [1], [[2, 3]], [4]))
    assert [answer["twice"].tolist() for answer in answers] == [[2], [[4, 6]], [8]] and doubling.rows == [2, 1]


def test_without_batching_each_is_alone() -> None:
    batcher, doubling = Batcher(1, most_rows=8, most_waiting=20, batching=False), Doubling()
    asyncio.run(fill(batcher, doubling, [1], [2], [3]))
    batcher.close()
    assert doubling.rows == [1, 1, 1]


def test_one_that_fails_does_not_fail_the_others(batcher: Batcher) -> None:
    first, bad, last = asyncio.run(fill(batcher, Doubling(), [1], [-1], [2]))
    assert first["twice"].tolist() == [2] and last["twice"].tolist() == [4]
    assert isinstance(bad, RequestError) and bad.message == "negative"


def test_a_full_queue_refuses(batcher: Batcher) -> None:
    answers = asyncio.run(fill(batcher, Doubling(), *[[n] for n in range(23)]))
    refused = [answer.code for answer in answers if isinstance(answer, RequestError)]
    assert refused == [429] * 3 and batcher.waiting == 0


def test_what_waits_too_long_is_not_computed(batcher: Batcher) -> None:
    doubling = Doubling()
    answers = asyncio.run(fill(batcher, doubling, [1], [2], seconds=0.001))
    assert [answer.code for answer in answers] == [504, 504]
    asyncio.run(batcher.compute(doubling, {"x": np.arange(2)}, 10))
    assert doubling.rows == [2]


def test_a_function_is_called_and_its_error_raised(batcher: Batcher) -> None:
    assert asyncio.run(batcher.run(lambda: 7, 10)) == 7
    with pytest.raises(ZeroDivisionError):
        asyncio.run(batcher.run(lambda: 1 // 0, 10))
    assert asyncio.run(batcher.run(lambda: 8, 10)) == 8  # the thread goes on
