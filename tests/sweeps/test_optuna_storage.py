"""Where trials are kept: journals and databases, wrong ones, and those that are away for a while."""

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import InputError
from tfmnist.sweeps import optuna_storage
from tfmnist.sweeps.optuna_study import Study
from tfmnist.sweeps.sweep_file import Sweep


def parse(search: str) -> Sweep:
    return Sweep.parse(f'[space]\n"model.hidden" = [[8], [16, 8], []]\n[search]\n{search}', "some")


def test_a_wrong_storage_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--storage no://where: .*; expected the URL of a database, or the path of a"):
        Study(parse(""), tmp_path, "no://where")
    with pytest.raises(InputError, match=r"/none/journal.log: .*No such file or directory.*; expected the URL"):
        Study(parse(""), tmp_path, f"{tmp_path}/none/journal.log")


def test_a_missing_driver_is_named_with_its_extra_and_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme, driver in (("postgresql", "psycopg"), ("mysql+pymysql", "pymysql")):
        monkeypatch.setitem(sys.modules, driver, None)
        with pytest.raises(InputError) as caught:
            Study(parse(""), tmp_path, f"{scheme}://me:s3cr@t@127.0.0.1:1/sweeps")
        said, where = str(caught.value), f"--storage {scheme}://me:***@127.0.0.1:1/sweeps"
        assert said.startswith(f"{where}: its driver {driver} is not installed; install it with: pip install 'tfmnist[")
        assert "s3cr" not in said


def test_a_journal_on_a_shared_disk_is_divided_by_its_path(tmp_path: Path) -> None:
    storage, sweep = str(tmp_path / "shared.log"), parse('sampler = "grid"\ntrials = 3')
    one, other = (Study(sweep, tmp_path / name, storage) for name in ("one", "other"))
    assert [study.begin() for study in (one, other, one, other)] == [0, 1, 2, None]
    assert one.unfinished() == [0, 2] and other.unfinished() == [1]


def test_a_database_may_be_away_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OperationalError(Exception):
        pass

    away = [3]

    def answer() -> None:
        if away[0]:
            away[0] -= 1
            raise OperationalError("server closed the connection")

    monkeypatch.setattr(optuna_storage, "_PAUSE", 0.0)
    call = optuna_storage._patiently(answer)
    call()
    assert away == [0]
    away[0] = 10**9
    monkeypatch.setattr(optuna_storage, "_PATIENCE", 0.05)
    with pytest.raises(OperationalError):
        call()
    study = Study(parse('sampler = "grid"\ntrials = 3'), tmp_path, f"sqlite:///{tmp_path}/shared.db")
    backend = study._study._storage._backend  # pyright: ignore[reportAttributeAccessIssue]
    assert all(getattr(type(backend), name).__name__ == "call" for name in ("_get_trials", "set_trial_state_values"))


def test_a_database_that_is_stopped_and_started_loses_nothing(postgresql: Any, tmp_path: Path) -> None:
    with postgresql.database() as url:
        study = Study(parse('sampler = "grid"\ntrials = 3'), tmp_path, url)
        assert study.begin() == 0
        postgresql.stop()
        back = threading.Timer(1.0, postgresql.start)
        back.start()
        assert study.begin() == 1 and study.unfinished() == [0, 1]
        back.join()
        study._study._storage.remove_session()
        study._study._storage._backend.engine.dispose()  # pyright: ignore[reportAttributeAccessIssue]
