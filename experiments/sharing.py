"""Takes machines and the database away from shared sweeps, and checks that they end as if nothing had happened.

    python experiments/sharing.py [--parts database ray]

`database`: three commands share a private PostgreSQL; one is killed for good, and the database is away for ten seconds.
`ray`: a sweep wants more workers than the cluster has processors; one of its two nodes is killed, and later another
joins. Each node has an address of its own in a network namespace, which needs root and `ip`.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from postgresql import PostgreSQL

EPOCHS = 400
SWEEP = f"""recipe = "mlp"
[fixed]
train.epochs = {EPOCHS}
train.compile = "graph"
data.per_class = 100
data.validation = 500
[space]
model.hidden = {{ choice = [[20], [24], [28], [32], [36], [40]] }}
train.batch_size = {{ choice = [50, 100] }}
[search]
sampler = "grid"
confirm = 1
"""
TRIALS = 12
NETWORK = "10.213.87"  # of the namespaces
LONGEST = 900.0  # seconds to wait for anything


class Command:
    """`tfmnist sweep` in a folder, with its output in a file."""

    def __init__(self, folder: Path, *options: str, before: tuple[str, ...] = ()) -> None:
        self.folder, self.output = folder, folder.with_suffix(".out")
        words = (*before, sys.executable, "-m", "tfmnist", "sweep", "some.toml", "--run-dir", str(folder), *options)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(words, cwd=folder.parent, stdout=output, stderr=subprocess.STDOUT)

    def ended(self) -> int:
        """Returns how many trials have ended, on all machines."""
        return sum(line.split("/")[0].isdigit() for line in self.output.read_text().splitlines())

    def trials(self) -> list[Any]:
        """Returns the table of trials, without what no two trainings have in common."""
        table = json.loads((self.folder / "sweep.json").read_text())["trials"]
        return [(trial["number"], trial["state"], trial["epochs"], trial["result"]) for trial in table]

    def finished(self) -> set[str]:
        """Returns the trials that were trained to their end in this folder."""
        histories = self.folder.glob("trials/*/metrics.jsonl")
        return {path.parent.name for path in histories if path.read_text().count("\n") == EPOCHS}

    def kill(self) -> None:
        """Kills the command and its workers at once, as when the machine loses its power."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            os.kill(process, signal.SIGKILL)


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.2)


def check(what: str, passed: object) -> bool:
    print(f"{'ok    ' if passed else 'FAILED'}  {what}", flush=True)
    return bool(passed)


def share_a_database(folder: Path) -> list[bool]:
    with PostgreSQL() as server, server.database() as url, ExitStack() as stack:
        commands = [Command(folder / name, "--storage", url, "--workers", "1") for name in ("one", "two", "three")]
        for command in commands:
            stack.callback(command.process.kill)
        one, two, three = commands
        wait_for(lambda: one.ended() >= 3 and list(three.folder.glob("trials/*")), "trials in every folder")
        three.kill()
        wait_for(lambda: one.ended() >= 5, "further trials")
        server.stop()
        time.sleep(10)
        server.start()
        print(f"        after {one.ended()} of {TRIALS} trials, the database was away for ten seconds")
        codes = [command.process.wait(LONGEST) for command in (one, two)]
    taken = [path.name for path in three.folder.glob("trials/*") if path.name not in three.finished()]
    trained = [trial for command in commands for trial in command.finished()]
    confirmed = [command.folder.name for command in commands if (command.folder / "confirmed").exists()]
    left = [command for command in (one, two) if "another command does that, in " in command.output.read_text()]
    return [
        check(f"two commands of three end: exit codes {codes}", codes == [0, 0]),
        check(f"the killed one leaves trial {', '.join(taken)}, which another takes over", taken),
        check(
            f"trained to the end: {len(trained)} trials, {len(set(trained))} of them different", len(trained) == TRIALS
        ),
        check("both have the same table, all trials done", is_complete(one) and one.trials() == two.trials()),
        check(f"confirmed by {', '.join(confirmed)}; left to it by {len(left)}", len(confirmed) == len(left) == 1),
    ]


def is_complete(command: Command) -> bool:
    states = [(number, state) for number, state, _, _ in command.trials()]
    return states == [(number, "done") for number in range(TRIALS)]


class Node:
    """A machine of a Ray cluster: a network namespace with an address and one processor."""

    def __init__(self, number: int) -> None:
        self.name, self.address = f"tfmnist{number}", f"{NETWORK}.{number}"
        self.before = ("ip", "netns", "exec", self.name)
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "address", "add", f"{self.address}/32", "dev", "lo")

    def join(self, other: Self) -> None:
        """Lays a cable between two nodes."""
        ends = (self, other.name, other.address), (other, self.name, self.address)
        run("ip", "-n", self.name, "link", "add", other.name, "type", "veth", "peer", self.name, "netns", other.name)
        for node, device, address in ends:
            run("ip", "-n", node.name, "link", "set", device, "up")
            run("ip", "-n", node.name, "route", "add", address, "dev", device, "src", node.address)

    def start(self, *options: str) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        run(*self.before, ray, "start", f"--node-ip-address={self.address}", "--num-cpus=1", *options)

    def processes(self) -> list[int]:
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    def trains(self) -> bool:
        """Whether a worker of a sweep runs here."""
        words = [Path(f"/proc/{pid}/cmdline") for pid in self.processes()]
        return any(b"tfmnist.sweeps.worker" in path.read_bytes() for path in words if path.exists())

    def kill(self) -> None:
        """Kills all its processes at once."""
        for process in self.processes():
            os.kill(process, signal.SIGKILL)

    def remove(self) -> None:
        while self.processes():
            self.kill()
            time.sleep(0.2)
        run("ip", "netns", "delete", self.name)  # and its cables


def run(*command: str) -> str:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {process.stderr.strip()}")
    return process.stdout


def share_a_cluster(folder: Path) -> list[bool]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as sockets:
        nodes = list[Node]()
        for number in (1, 2, 3):
            nodes.append(Node(number))
            stack.callback(nodes[-1].remove)
            if number > 1:
                nodes[0].join(nodes[-1])
        head, killed, joined = nodes
        head.start("--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={sockets}")
        killed.start(f"--address={head.address}:6379")
        sweep = Command(folder / "ray", f"--ray={head.address}:6379", "--workers=4", before=head.before)
        wait_for(lambda: sweep.ended() >= 2 and killed.trains(), "a trial on each node")
        killed.kill()
        ended = sweep.ended()
        print(f"        after {ended} of {TRIALS} trials, a node was killed")
        wait_for(lambda: sweep.ended() >= ended + 2, "trials on the node that is left")
        joined.start(f"--address={head.address}:6379")
        wait_for(lambda: joined.trains() or sweep.process.poll() is not None, "a trial on the node that has joined")
        trains = joined.trains()
        code = sweep.process.wait(LONGEST)
    text = sweep.output.read_text()
    return [
        check(f"a sweep with 4 workers on 2 processors, one of which is killed, ends: exit code {code}", code == 0),
        check("the node that has joined trains", trains),
        check("all trials are done, each once", is_complete(sweep) and len(sweep.finished()) == TRIALS),
        check("its best recipe is confirmed", "\nbaseline test accuracy" in text),
        check("Ray's log is not on the screen", not re.search(r"\[20\d\d-|raylet|Traceback", text)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=["database", "ray"], default=["database", "ray"])
    given = parser.parse_args()
    passed: list[bool] = []
    for name in given.parts:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "some.toml").write_text(SWEEP)
            began = time.monotonic()
            passed += (share_a_database if name == "database" else share_a_cluster)(Path(folder))
            print(f"        {name}: {time.monotonic() - began:.0f} s")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
