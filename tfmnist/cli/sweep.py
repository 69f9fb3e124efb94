"""`tfmnist sweep` and `tfmnist study`."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from tfmnist.cli.commands import AsJson
from tfmnist.cli.options import DEFAULT_RECIPE
from tfmnist.cli.process import stoppable, tensorflow_quietly
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import make_folder_at

if TYPE_CHECKING:
    from tfmnist.sweeps.workers import Workers


def sweep(
    sweep: Annotated[str, Positional, arg(metavar="SWEEP.toml")],
    run_dir: Annotated[str, arg(metavar="DIR", help_behavior_hint="")] = "",
    workers: int = 0,
    threads: int = 1,
    storage: Annotated[str, arg(metavar="URL_OR_FILE", help_behavior_hint="")] = "",
    ray: Annotated[str, arg(metavar="ADDRESS", help_behavior_hint="")] = "",
) -> None:
    """Searches recipes: trains many and reports the best.

    Run the same command again to resume a stopped sweep.

    Args:
        sweep: The sweep file: which keys of a recipe to search, in which ranges, how, and for how long.
        run_dir: Folder of the sweep and its trials; by default sweeps/<name of the file>.
        workers: Number of worker processes; 0 for one per processor, -1 to train in this process.
        threads: TensorFlow threads per process.
        storage: URL of a database, or path of a file, for the search, which several machines may share; by default a
            file in the folder.
        ray: Address of a Ray cluster to train on: HOST:PORT, auto, or local to start one on this machine.
    """
    from tfmnist.sweeps.sweep_file import Sweep

    searched = Sweep.load(sweep)
    from tfmnist.sweeps.report import write_sweep_report
    from tfmnist.sweeps.screen import SweepScreen
    from tfmnist.sweeps.search import search_events

    folder = Path(run_dir or f"sweeps/{searched.name}")
    with stoppable() as stop, _workers(workers, threads, ray) as pool, SweepScreen(searched) as screen:
        for event in search_events(searched, folder, pool, storage=storage, stop=stop):
            screen.show(event)
    with contextlib.suppress(InputError):  # if no trial has ended yet, there is nothing to draw
        print(f"report   {write_sweep_report(folder)}")


@contextlib.contextmanager
def _workers(count: int, threads: int, ray: str = "") -> Iterator["Workers"]:
    from tfmnist.sweeps.workers import Workers

    with contextlib.closing(Workers(count, threads, ray)) as workers:
        if count == -1:  # this process will train
            with tensorflow_quietly():
                import tfmnist.runs.train  # noqa: F401
        yield workers


def study(
    recipe: Annotated[str, Positional, arg(metavar="[RECIPE]")] = DEFAULT_RECIPE,
    seeds: int = 5,
    run_dir: Annotated[str, arg(metavar="DIR", help_behavior_hint="")] = "",
    workers: int = 0,
    threads: int = 1,
    as_json: AsJson = False,
) -> None:
    """Reports mean and sd of a recipe's test accuracy over several seeds.

    Args:
        recipe: A shipped recipe or a .toml file.
        seeds: Number of seeds, which are 0, 1, 2 and so on.
        run_dir: Folder of the study and its runs; by default studies/<recipe>. The same command resumes it.
        workers: Number of worker processes; 0 for one per processor, -1 to train in this process.
        threads: TensorFlow threads per process.
    """
    loaded = Recipe.load(recipe)
    from tfmnist.sweeps.sweep_file import MOST_POINTS

    if not 1 <= seeds <= MOST_POINTS:
        raise InputError(f"--seeds is {seeds}: expected a number of seeds from 1 to {MOST_POINTS:,}.")
    from tfmnist.sweeps.screen import show_seed, show_study
    from tfmnist.sweeps.seed_study import study_events
    from tfmnist.sweeps.trials import StudyResult

    folder = Path(run_dir or f"studies/{loaded.name}")
    with stoppable() as stop, _workers(workers, threads) as pool:
        for event in study_events(loaded, range(seeds), make_folder_at(folder), pool, stop=stop):
            if isinstance(event, StudyResult):
                print(json.dumps(event.to_dict()) if as_json else f"\n{show_study(event)}\n{event.path / 'study.json'}")
            elif not as_json:
                print(show_seed(event), flush=True)
