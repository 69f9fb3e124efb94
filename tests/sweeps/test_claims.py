"""Claims: one process per trial; what a killed process had can be claimed again."""

import multiprocessing
import os
from pathlib import Path

from tfmnist.sweeps.claims import Claim, Claims


def try_to_take(claims: Claims, number: int) -> Claim | None:
    with claims.exclusive():
        return claims.take(number)


def take(claims: Claims, number: int) -> Claim:
    claim = try_to_take(claims, number)
    assert claim
    return claim


def test_a_trial_has_one_worker_until_it_is_released(tmp_path: Path) -> None:
    one, other = Claims(tmp_path, "start-1"), Claims(tmp_path, "start-2")
    claim = take(one, 7)
    assert claim.losses == 0
    assert try_to_take(other, 7) is None
    second = take(other, 8)
    claim.release()
    again = take(other, 7)
    second.release()
    again.release()
    assert [path.name for path in (tmp_path / ".claims").iterdir()] == ["lock"]


def take_and_end(folder: Path) -> None:
    take(Claims(folder, "start-1"), 7)
    os._exit(0)


def test_a_trial_whose_process_ended_is_free_when_that_is_said(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=take_and_end, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    other = Claims(tmp_path, "start-2")
    assert try_to_take(other, 7) is None
    assert other.lose("start-1", "killed") and not other.lose("start-1", "killed")
    claim = take(other, 7)
    assert (claim.losses, claim.reason) == (1, "killed")
    claim.close()
    assert other.lose("start-2", "exit code 1")
    claim = take(other, 7)
    assert (claim.losses, claim.reason) == (2, "exit code 1")
    claim.release()


def test_an_earlier_command_counts_for_nothing(tmp_path: Path) -> None:
    claim = take(Claims(tmp_path, "earlier-1"), 7)
    claim.close()
    Claims(tmp_path, "earlier-1").lose("earlier-1", "killed")
    claim = take(Claims(tmp_path, "later-1"), 7)
    assert claim.losses == 0
    claim.close()


def test_a_file_that_was_half_written_is_no_obstacle(tmp_path: Path) -> None:
    claims = Claims(tmp_path, "start-1")
    (tmp_path / ".claims" / "0007").write_text('{"start": "st')
    assert not claims.lose("start-1", "")
    claim = take(claims, 7)
    assert claim.losses == 0
    claim.close()
