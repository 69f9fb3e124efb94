"""Several trainers as one: their networks do each step together, and each comes out as if it had trained alone.

Up to rounding, that is: products of other shapes are summed in another order. What a lane, one of the trainers, must
know between epochs (weights, slots, averages, state) is written back to it, so that checkpoints, histories and
everything after them are its own.
"""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfmnist.data.pipeline import Block, make_plan, stream_blocks
from tfmnist.errors import DivergedError
from tfmnist.nn.packed import pack, unpack
from tfmnist.training.loop import Epoch, Trainer
from tfmnist.training.packed_steps import PackedSteps, State

_VALIDATION_BATCH = 1000
_STEP = "optimizer/step"


@dataclass
class _Group:
    """As many lanes as are computed at once; the last one is repeated where there are fewer."""

    places: list[int]
    lanes: list[Trainer]
    state: State


class Pack:
    """Trainers that are alike but for numbers, trained together.

    They take turns in groups of `size`, block by block: a group's weights stay in the processor's cache meanwhile. What
    comes out of a lane does not depend on which others are there: every group does the same operations.

    Args:
        lanes: trainers of `tfmnist.MLP`s, which stand at the same epoch and step; what their sections of the recipe
            may differ in is what `tfmnist.sweeps.packing.pack_key` says.
        size: of a group.
        mixed: whether each network gets batches of its own, as it must where seeds differ.
        steps: what was compiled for trainers of this kind before, `Pack(...).steps` with the same size and `mixed`.

    Attributes:
        lanes: those that still train, by their places; taking one out leaves the others as they are.
    """

    def __init__(self, lanes: Sequence[Trainer], size: int = 8, mixed: bool = True, steps: PackedSteps | None = None):
        first = lanes[0]
        assert all(lane.state.epoch == first.state.epoch and lane.state.step == first.state.step for lane in lanes)
        assert mixed or len({lane.settings.seed for lane in lanes}) == 1
        self.lanes = dict(enumerate(lanes))
        self._first, self._mixed = first, mixed
        settings, images = first.settings, 10_000 // size if mixed else 10_000
        self.plan = make_plan(len(first.train), settings.batch_size, settings.block, images, settings.progress)
        groups = [list(range(start, min(start + size, len(lanes)))) for start in range(0, len(lanes), size)]
        filled = [[lanes[place] for place in [*places, *[places[-1]] * (size - len(places))]] for places in groups]
        self.steps = steps or PackedSteps(filled[0], mixed)
        self._groups = [_Group(places, own, self._state_of(own)) for places, own in zip(groups, filled)]
        self._held = self._groups[0]
        self.steps.load(self._held.state)

    def compile(self) -> None:
        """Traces and compiles the loop for each shape of block, without a step done."""
        height, width = self._first.model.image_shape
        for steps, batch in self.plan.shapes:
            shape = [steps, self.steps.size, batch] if self._mixed else [steps, batch]
            block = tf.zeros([*shape, height, width], tf.uint8), tf.zeros(shape, tf.int64)
            self._do(*block, tf.zeros([steps, self.steps.size]), 0)

    def run(self) -> Iterator[list[tuple[int, Epoch | DivergedError]]]:
        """Trains to the last epoch; yields after each block what has come of it, by the places of the lanes.

        Between two yields nothing is half done; `settle` a lane before its checkpoint is taken. A lane that has
        diverged is taken out.
        """
        first = self._first
        epochs = range(first.state.epoch, first.settings.epochs)
        began = time.perf_counter()
        with closing(self._stream(epochs, first.state.step)) as stream:
            for blocks, block in stream:
                found: list[tuple[int, Epoch | DivergedError]] = []
                for group in self._training():
                    found += self._do_block(group, blocks, block)
                seconds = (time.perf_counter() - began) / max(1, len(self.lanes))
                for lane in self.lanes.values():
                    lane.state.step = block.end
                    lane.state.seconds += seconds
                if block.end == self.plan.steps:
                    began = time.perf_counter()
                    for group in self._training():
                        found += self._close_epoch(group)
                yield found
                if not self.lanes:
                    return
                began = time.perf_counter()

    def settle(self, place: int) -> Trainer:
        """Gives a lane its weights, slots and averages as they are now, and returns it."""
        group = next(group for group in self._groups if place in group.places)
        self._settle(group, [place])
        return self.lanes[place]

    def _training(self) -> list[_Group]:
        return [group for group in self._groups if any(place in self.lanes for place in group.places)]

    def _hold(self, group: _Group) -> None:
        """Puts a group's variables in the place of the other's."""
        if group is not self._held:
            self._held.state = self.steps.state()
            self.steps.load(group.state)
            self._held = group

    def _state_of(self, lanes: Sequence[Trainer]) -> State:
        named = [lane.named_variables() for lane in lanes]
        state: State = {_STEP: tf.identity(named[0][_STEP])}
        for name in named[0]:
            if name != _STEP:
                state[name] = tf.constant(pack(name, [own[name].numpy() for own in named]))
        return {**self.steps.fresh(lanes), **state}

    def _settle(self, group: _Group, places: Sequence[int]) -> None:
        self._hold(group)
        now = {name: variable.numpy() for name, variable in self.steps.variables().items()}
        for place in places:
            for name, variable in self.lanes[place].named_variables().items():
                variable.assign(now[name] if name == _STEP else unpack(name, now[name], group.places.index(place)))

    def _do(self, images: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor, count: int) -> list[np.ndarray]:
        is_full = labels.shape[-1] == self.plan.batch_size or not self.plan.full
        do = self.steps.do_full if is_full else self.steps.do_short
        return [found.numpy() for found in do(images, labels, rates, tf.constant(count, tf.int64))]

    def _do_block(
        self, group: _Group, blocks: dict[int, Block], block: Block
    ) -> list[tuple[int, Epoch | DivergedError]]:
        """Does the steps of a block; returns which lanes have diverged."""
        self._hold(group)
        if self._mixed:
            own = [blocks[lane.settings.seed] for lane in group.lanes]
            images, labels = tf.stack([b.images for b in own], 1), tf.stack([b.labels for b in own], 1)
        else:
            images, labels = block.images, block.labels
        before = int(self.steps.optimizer.step)
        when = tf.range(before, before + len(labels), dtype=tf.int64)
        rates = [tf.broadcast_to(lane.optimizer.schedule(when), tf.shape(when)) for lane in group.lanes]
        total, correct, done, last = self._do(images, labels, tf.stack(rates, 1), block.end - block.first)
        diverged: list[tuple[int, Epoch | DivergedError]] = []
        for row, place in enumerate(group.places):
            if place not in self.lanes:
                continue
            lane = self.lanes[place]
            if math.isfinite(last[row]):
                lane.state.loss += float(total[row])
                lane.state.correct += int(correct[row])
            else:
                lane.optimizer.step.assign(before + int(done[row]))
                diverged.append((place, lane.diverged(f"the loss is {last[row]}", block.first + int(done[row]))))
                del self.lanes[place]
        return diverged

    def _close_epoch(self, group: _Group) -> list[tuple[int, Epoch | DivergedError]]:
        places = [place for place in group.places if place in self.lanes]
        self._settle(group, places)
        validated = self._validate(group)
        found: list[tuple[int, Epoch | DivergedError]] = []
        for place in places:
            try:
                found.append((place, self.lanes[place].close_epoch(*validated[group.places.index(place)])))
            except DivergedError as error:
                found.append((place, error))
                del self.lanes[place]
        return found

    def _stream(self, epochs: range, skip: int) -> Generator[tuple[dict[int, Block], Block]]:
        """Yields the blocks of each seed, and one of them."""
        by_seed = {lane.settings.seed: lane for lane in self.lanes.values()}
        augment = self._first.augment
        streams = [
            stream_blocks(lane.train, self.plan, seed=seed, epochs=epochs, skip=skip, augment=augment)
            for seed, lane in by_seed.items()
        ]
        try:
            for blocks in zip(*streams, strict=True):
                yield dict(zip(by_seed, blocks)), blocks[0]
        finally:
            for stream in streams:
                stream.close()  # type: ignore[reportAttributeAccessIssue]

    def _validate(self, group: _Group) -> list[tuple[float | None, float | None]]:
        """Returns loss and accuracy of each lane of a group on its validation examples."""
        self._hold(group)
        splits = [lane.validation for lane in (group.lanes if self._mixed else group.lanes[:1])]
        count = len(splits[0] or ())
        if not count:
            return [(None, None)] * len(group.lanes)
        total, correct = np.zeros(len(group.lanes)), np.zeros(len(group.lanes), np.int64)
        with self.steps.averaged():
            for start in range(0, count, _VALIDATION_BATCH):
                rows = np.arange(start, min(start + _VALIDATION_BATCH, count))
                taken = [split.take(rows) for split in splits if split is not None]
                images, labels = (np.stack(parts) if self._mixed else parts[0] for parts in zip(*taken))
                loss, right = self.steps.measure(tf.constant(images), tf.constant(labels))
                total += loss.numpy()
                correct += right.numpy()
        return [(float(loss) / count, int(right) / count) for loss, right in zip(total, correct)]
