"""What the commands that share a storage agree on: who has what, and which commands are alive.

The claims are entries of a study beside the sweep's, numbered by the storage. No entry is ever changed, and of those
that follow the same entry the first counts, so whatever happens at the same time, all commands read the same holders.
Each command changes its sign of life every `HEARTBEAT` seconds; others count it as dead when they have seen the same
sign for `GRACE` seconds of their own, so the clocks of the machines need not agree.
"""

import contextlib
import threading
import time
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import optuna

from tfmnist.errors import DATABASE, find_fault

HEARTBEAT = 30.0  # seconds between a command's signs of life
GRACE = 120.0  # seconds without one after which others take over what it has; longer than a database may be away
_POLL = 1.0  # seconds between looks for a sign of life


class Claim(NamedTuple):
    """Who has something, since which entry."""

    entry: int
    holder: str


NOBODY = Claim(-1, "")


class Ledger:
    """The claims of the commands that share a study.

    Args:
        study: whose storage and name the ledger shares.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._signs: dict[str, tuple[str, float]] = {}  # of each command: the last one, and when it was first seen
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._claims = optuna.create_study(
                study_name=f"{study.study_name} (claims)", storage=study._storage, load_if_exists=True
            )

    def claims(self) -> dict[str, Claim]:
        """Returns everything that is claimed, and who has it."""
        claims: dict[str, Claim] = {}
        for entry in self._claims.get_trials(deepcopy=False):
            what, holder, after = entry.user_attrs["claim"]
            if claims.get(what, NOBODY).entry == after:
                claims[what] = Claim(entry.number, holder)
        return claims

    def claim(self, what: str, holder: str, last: Claim = NOBODY) -> str:
        """Claims something, unless another has claimed it since the last claim; returns who has it."""
        entry = optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL, user_attrs={"claim": [what, holder, last.entry]}
        )
        self._claims.add_trial(entry)
        return self.claims()[what].holder

    @contextlib.contextmanager
    def alive(self, command: str) -> Iterator[None]:
        """Shows others that a command is alive."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT):
                try:
                    self._show_life(command)
                except Exception as error:  # the command itself stops if the database stays away
                    if find_fault(error) is not DATABASE:
                        raise

        self._show_life(command)
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_POLL)

    def is_dead(self, command: str) -> bool:
        """Whether this process has seen no sign of life of a command for too long."""
        self._look(command)
        return time.monotonic() - self._signs[command][1] > GRACE

    def await_life(self, command: str, stop: threading.Event) -> bool:
        """Waits for a sign of life of a command; returns whether there was one."""
        while not self._look(command) and not self.is_dead(command) and not stop.is_set():
            stop.wait(min(_POLL, HEARTBEAT))
        return not self.is_dead(command)

    def _show_life(self, command: str) -> None:
        self._study.set_user_attr(_sign_of(command), str(time.time_ns()))

    def _look(self, command: str) -> bool:
        """Looks for a sign of life of a command; returns whether it differs from the last one that was seen."""
        sign = self._study.user_attrs.get(_sign_of(command), "")
        last, _ = self._signs.get(command, (sign, 0.0))
        if command not in self._signs or sign != last:
            self._signs[command] = sign, time.monotonic()
        return sign != last


def _sign_of(command: str) -> str:
    return f"sign of life of {command}"[-500:]  # databases limit it
