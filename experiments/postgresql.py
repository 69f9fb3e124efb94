"""A private PostgreSQL in a temporary folder, which is reached by a socket in it: for sweeps that share a database."""

import contextlib
import glob
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self


def find_programs() -> str:
    """Returns the folder of `initdb` and `pg_ctl`, the newest if there are several; "" if there is none."""
    found = [shutil.which("initdb") or "", *sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))]
    return os.path.dirname(found[-1])


class PostgreSQL:
    """Runs as long as a `with` block; `stop` and `start` take it away and bring it back."""

    def __init__(self) -> None:
        self._programs = find_programs()
        self._folder = tempfile.mkdtemp(prefix="postgresql-", dir="/tmp")  # paths of sockets must be short
        self._data = f"--pgdata={self._folder}/data"
        self._user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        if self._user:
            shutil.chown(self._folder, self._user)
        self._run("initdb", self._data, "--no-sync", "--auth=trust", "--username=sweeps", "--encoding=UTF8")
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Makes a database of its own, as long as a `with` block lasts; yields its URL."""
        name = f"sweeps{next(self._numbers)}"
        self._run("createdb", f"--host={self._folder}", "--username=sweeps", name)
        yield f"postgresql+psycopg:///{name}?host={self._folder}&user=sweeps"
        self._run("dropdb", "--force", f"--host={self._folder}", "--username=sweeps", name)

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self._run(
            "pg_ctl",
            self._data,
            "start",
            "--wait",
            f"--log={self._folder}/log",
            f"--options=-F -h '' -k {self._folder}",
        )

    def stop(self) -> None:
        """Stops it, without waiting for its clients."""
        self._run("pg_ctl", self._data, "stop", "--wait", "--mode=fast")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(Path(self._programs, program)), *arguments]
        subprocess.run(command, check=True, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL)
