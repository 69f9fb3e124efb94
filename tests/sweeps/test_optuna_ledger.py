"""What commands agree on through a shared storage: who has what, and who is alive."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from tfmnist.sweeps import optuna_ledger
from tfmnist.sweeps.optuna_ledger import NOBODY, Claim, Ledger
from tfmnist.sweeps.optuna_storage import open_storage


def open_ledger(storage: str, folder: Path) -> Ledger:
    backend = open_storage(storage, folder)
    return Ledger(optuna.create_study(storage=backend, study_name="some", load_if_exists=True))


def test_of_those_that_claim_at_once_exactly_one_has_it(storage: str, tmp_path: Path) -> None:
    ledgers = [open_ledger(storage, tmp_path) for _ in range(4)]
    last = NOBODY
    for turn in range(2):  # the second takes over
        start = threading.Barrier(len(ledgers))

        def claim(number: int, last: Claim = last, start: threading.Barrier = start) -> str:
            start.wait()
            return ledgers[number].claim("trial 3", f"command {number}", last)

        with ThreadPoolExecutor(len(ledgers)) as pool:
            (holder,) = set(pool.map(claim, range(len(ledgers))))
        claims = [ledger.claims() for ledger in ledgers]
        assert all(known == {"trial 3": claims[0]["trial 3"]} for known in claims)
        assert claims[0]["trial 3"].holder == holder and claims[0]["trial 3"].entry > last.entry, turn
        last = claims[0]["trial 3"]
    assert ledgers[0].claim("trial 4", "another") == "another"


def test_a_command_is_dead_once_its_signs_of_life_have_ceased(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_ledger, "HEARTBEAT", 0.05)
    monkeypatch.setattr(optuna_ledger, "GRACE", 1.0)
    one, other = (open_ledger(storage, tmp_path) for _ in range(2))
    threads = threading.active_count()
    with one.alive("one"):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert not other.is_dead("one")
            time.sleep(0.05)
        assert other.await_life("one", threading.Event())
    assert threading.active_count() == threads
    assert not other.is_dead("one") and not other.await_life("one", threading.Event()) and other.is_dead("one")
    with one.alive("one"):
        assert not other.is_dead("one")


def test_nobody_waits_for_life_after_a_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    began = time.monotonic()
    open_ledger(f"sqlite:///{tmp_path}/shared.db", tmp_path).await_life("one", stop)
    assert time.monotonic() - began < 1
