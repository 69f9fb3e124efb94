"""Several runs that train together in one compiled graph; each is a run folder like any other."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tfmnist.data.split import Digits
from tfmnist.errors import BusyError, DivergedError, InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.build import load_section
from tfmnist.runs.events import Trained
from tfmnist.runs.session import UnderWay, begun, begun_before
from tfmnist.training.loop import Epoch
from tfmnist.training.pack import Pack
from tfmnist.training.packed_steps import PackedSteps

Outcome = Epoch | Trained | Interrupted | DivergedError | InputError | OSError


def pack_events(
    runs: Sequence[tuple[Path, Recipe, threading.Event]],
    size: int = 8,
    mixed: bool = True,
    compiled: dict[str, PackedSteps] | None = None,
    kind: str = "",
) -> Iterator[tuple[int, Outcome]]:
    """Trains runs together up to where the test set would be read; yields what happens to each, by its place.

    `resume_events` finishes a run, alone. Runs that stopped at different steps go on together only with those that
    stand where they do.

    Args:
        runs: folder, recipe, and what ends the run after the block under way, saved. A folder that is there is gone on
            with. The recipes differ in numbers only, as `tfmnist.sweeps.packing.pack_key` has it.
        size, mixed: as for `Pack`; without `mixed`, seeds are equal.
        compiled: what was compiled for the last runs, by their kind; is kept for the next ones here.
        kind: of these runs; those of one kind differ in numbers only, and their data are the same.

    Raises:
        BusyError: another process is writing in one of the folders; nothing was yielded.
    """
    loaded: dict[tuple[str, int], Digits] = {}
    with ExitStack() as stack:
        opened: dict[int, UnderWay] = {}
        refused: dict[int, InputError | OSError] = {}
        for place, (path, recipe, _) in enumerate(runs):
            try:
                opened[place] = stack.enter_context(_open(path, recipe, loaded))
            except BusyError:
                raise
            except (InputError, OSError) as error:
                refused[place] = error
        yield from refused.items()
        standing: defaultdict[tuple[int, ...], dict[int, UnderWay]] = defaultdict(dict)
        for place, run in opened.items():
            if run.trainer.finished:
                yield place, run.trained()
            else:
                state, digits = run.trainer.state, run.digits
                standing[state.epoch, state.step, len(digits.train), len(digits.validation)][place] = run
        for alike in standing.values():
            pack = Pack([run.trainer for run in alike.values()], size, mixed, compiled.get(kind) if compiled else None)
            if compiled is not None:
                compiled.clear()
                compiled[kind] = pack.steps
            yield from _train(pack, alike, {place: runs[place][2] for place in alike})


def _open(path: Path, recipe: Recipe, loaded: dict[tuple[str, int], Digits]) -> AbstractContextManager[UnderWay]:
    there = path.exists()
    recipe = Recipe.load_run(path) if there else recipe
    key = recipe.data.model_dump_json(), recipe.train.seed
    if key not in loaded:
        loaded[key] = load_section(recipe.data, recipe.train.seed)
    return begun_before(path, recipe, loaded[key]) if there else begun(recipe, loaded[key], path)


def _train(pack: Pack, runs: dict[int, UnderWay], stops: dict[int, threading.Event]) -> Iterator[tuple[int, Outcome]]:
    places = list(runs)
    pack.compile()
    for events in pack.run():
        for lane, event in events:
            place = places[lane]
            run = runs[place]
            if isinstance(event, DivergedError):
                yield place, run.diverged(event)
                continue
            try:
                run.save()
            except OSError as error:
                del pack.lanes[lane]
                yield place, error
                continue
            yield place, event
            if run.trainer.finished:
                del pack.lanes[lane]
                yield place, run.trained()
        for lane in [lane for lane in pack.lanes if stops[places[lane]].is_set()]:
            pack.settle(lane)
            del pack.lanes[lane]
            try:
                yield places[lane], runs[places[lane]].interrupted()
            except OSError as error:
                yield places[lane], error
