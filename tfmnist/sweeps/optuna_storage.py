"""Where Optuna keeps the trials of a sweep: a journal in its folder or on a shared disk, or a database."""

import os
import random
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfmnist.errors import DATABASE, InputError, find_fault
from tfmnist.system.files import one_line
from tfmnist.system.locks import lock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

_PATIENCE = 60.0  # seconds in which a database may come back
_ATTEMPTS = 4  # to open a database
_PAUSE = 1.0  # seconds between attempts
_DRIVERS = {  # how to install a module
    "psycopg": "pip install 'tfmnist[postgresql]'",
    "psycopg2": "pip install 'tfmnist[postgresql]', and begin the URL with postgresql+psycopg://",
    "pymysql": "pip install 'tfmnist[mysql]'",
    "MySQLdb": "pip install 'tfmnist[mysql]', and begin the URL with mysql+pymysql://",
}


def open_storage(storage: str, folder: Path) -> Any:
    """Opens a storage of Optuna's.

    Args:
        storage: URL of a database, or path of a journal that several machines share; by default the folder's journal.
        folder: the sweep's.

    Raises:
        InputError: it cannot be opened; the message leaves out the password.
    """
    if not storage:
        return _open_journal(folder / "journal.log")
    try:
        return _open_database(storage) if "://" in storage else _open_journal(Path(storage))
    except Exception as error:
        where = f"--storage {without_password(storage)}"
        if driver := _missing_module(error):
            install = _DRIVERS.get(driver, f"pip install {driver}")
            raise InputError(f"{where}: its driver {driver} is not installed; install it with: {install}") from None
        reason = without_password(one_line(error), storage)
        raise InputError(
            f"{where}: {reason[:200]}; expected the URL of a database, or the path of a file; correct it, or leave it "
            "out."
        ) from None


def _missing_module(error: BaseException | None) -> str:
    while error:
        if isinstance(error, ModuleNotFoundError):
            return error.name or ""
        error = error.__cause__ or error.__context__
    return ""


def without_password(text: str, url: str = "") -> str:
    """Returns a text with the password of a database's URL hidden; by default the text is that URL."""
    found = re.search(r"://[^/@:]*:(.+)@", url or text)
    return text.replace(found[1], "***") if found else text


def _open_journal(path: Path) -> Any:
    path.touch()
    lock: Any = _JournalLock(path)
    return JournalStorage(JournalFileBackend(str(path), lock))


def _open_database(url: str) -> Any:
    from sqlalchemy.exc import ArgumentError  # slow to import, and not needed for a journal

    patient = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    for _ in range(_ATTEMPTS - 1):
        try:
            return _PatientStorage(url, patient)
        except (ArgumentError, ImportError):  # no URL, or no driver
            raise
        except Exception:  # other commands may be creating the tables
            time.sleep(random.uniform(0.5, 1))
    return _PatientStorage(url, patient)


class _PatientStorage(RDBStorage):
    """A database that may be away for up to a minute: what fails is tried again."""


def _patiently(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return method(*arguments, **options)
            except Exception as error:
                if find_fault(error) is not DATABASE or time.monotonic() > end:
                    raise
                time.sleep(_PAUSE)

    return call


for _name in (  # what Optuna's cache calls
    *("_create_new_trial", "_get_trials", "_set_trial_param", "create_new_study", "get_study_directions"),
    *("get_study_id_from_name", "get_study_system_attrs", "get_study_user_attrs", "get_trial"),
    *("get_trial_id_from_study_id_trial_number", "set_study_system_attr", "set_study_user_attr"),
    *("set_trial_intermediate_value", "set_trial_state_values", "set_trial_system_attr", "set_trial_user_attr"),
):
    setattr(_PatientStorage, _name, _patiently(getattr(RDBStorage, _name)))


class _JournalLock:
    """The journal's lock, dropped when its process ends; Optuna's own waits 30 s for a holder that was killed.

    It is on a file of its own, since Optuna reads the journal without the lock, which Windows would not allow.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def acquire(self) -> bool:
        locked = self._path.with_name(f".{self._path.name}.lock").open("ab")
        lock(locked)
        self._locked = locked
        with self._path.open("r+b") as journal:
            end = journal.seek(0, os.SEEK_END)
            journal.seek(max(0, end - 1))
            if journal.read(1) not in (b"", b"\n"):  # half a line, whose writer was killed
                journal.truncate(self._path.read_bytes().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._locked.close()
