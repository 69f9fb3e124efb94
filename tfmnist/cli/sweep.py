"""`tfmnist sweep` and `tfmnist study`."""

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tfmnist.cli.commands import AsJson
from tfmnist.cli.options import DEFAULT_RECIPE
from tfmnist.cli.process import stoppable, tensorflow_quietly
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import make_folder_at


def sweep(
    sweep: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SWEEP.toml")],
    run_dir: str = "",
    workers: int = 0,
    threads: int = 1,
    pack: Literal["auto"] | int = "auto",
    storage: str = "",
    ray: str = "",
) -> None:
    """Searches recipes: trains many, and says which is best. The same command goes on with a sweep that was stopped.

    Args:
        sweep: The sweep's file: which keys of a recipe to search, in which ranges, how, and for how long.
        run_dir: Folder of the sweep and its trials; by default sweeps/<name of the file>.
        workers: Number of processes that train; 0 for one a processor, -1 to train in this one.
        threads: TensorFlow's threads in each.
        pack: How many trials that differ only in numbers may train together in each, in one graph; auto, or 1 for none.
        storage: URL of a database for the search, which several machines may share; by default a file in the folder.
        ray: Address of a Ray cluster whose processors train: HOST:PORT, auto, or local to begin one here.
    """
    from tfmnist.sweeps.sweep_file import Sweep

    asked = Sweep.load(sweep)
    from tfmnist.cli.sweep_screen import SweepScreen
    from tfmnist.sweeps.packing import choose_pack
    from tfmnist.sweeps.report import write_sweep_report
    from tfmnist.sweeps.search import search_events

    packed = choose_pack(pack, asked.recipe, asked.search, asked.space)
    folder = Path(run_dir or f"sweeps/{asked.name}")
    executor = _make_executor(workers, threads, folder, packed, ray)
    with stoppable() as stop, contextlib.closing(executor), SweepScreen(asked) as screen:
        for event in search_events(asked, folder, executor, storage=storage, stop=stop):
            screen.show(event)
    with contextlib.suppress(InputError):  # where no trial was begun in time there is nothing to draw
        print(f"report   {write_sweep_report(folder)}")


def _make_executor(workers: int, threads: int, folder: Path, pack: int, ray: str = "") -> Any:
    from tfmnist.sweeps.workers import make_executor

    executor = make_executor(workers, threads, folder, pack, ray)
    if workers == -1:  # this process will train
        with tensorflow_quietly():
            import tfmnist.runs.train  # noqa: F401
    return executor


def study(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = DEFAULT_RECIPE,
    seeds: int = 5,
    run_dir: str = "",
    workers: int = 0,
    threads: int = 1,
    pack: Literal["auto"] | int = "auto",
    as_json: AsJson = False,
) -> None:
    """Trains one recipe with several seeds and says what it reaches: mean and standard deviation on the test set.

    Args:
        recipe: A shipped recipe or the path of a .toml file.
        seeds: How many; they are 0, 1, 2 and so on.
        run_dir: Folder of the study and its runs; by default studies/<recipe>. The same command goes on with it.
        workers: Number of processes that train; 0 for one a processor, -1 to train in this one.
        threads: TensorFlow's threads in each.
        pack: How many seeds may train together in each, in one graph; auto, or 1 for none.
        as_json: Print JSON.
    """
    loaded = Recipe.load(recipe)
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}: expected 1 or more.")
    from tfmnist.cli.sweep_screen import show_seed, show_study
    from tfmnist.sweeps.packing import choose_pack
    from tfmnist.sweeps.seed_study import StudyResult, study_events

    packed = choose_pack(pack, loaded)
    folder = make_folder_at(Path(run_dir or f"studies/{loaded.name}"))
    executor = _make_executor(workers, threads, folder, packed)
    with stoppable() as stop, contextlib.closing(executor):
        for event in study_events(loaded, range(seeds), folder, executor, stop=stop):
            if isinstance(event, StudyResult):
                print(json.dumps(event.to_dict()) if as_json else f"\n{show_study(event)}\n{event.path / 'study.json'}")
            elif not as_json:
                print(show_seed(event), flush=True)
