"""One training by several processes: the same as by one, stopped and resumed, and with processes that die.

    python experiments/distributed.py [--parts equal accuracy resume faults ray] [--seeds 2]

equal: weights after training with one, two and three processes, and whether all of these processes have the same, bit
by bit. accuracy: of the recipe `cnn` with two processes. resume: stopped in the middle of an epoch with two processes,
resumed with one, two and three. faults: one process killed, frozen, or missing at the start, and then all begun again.
ray: the other process on a Ray cluster, killed. All processes run on this machine.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# in the mode of several processes: between xla and graph, one process differs from itself by 6 % of the largest weight
SMALL = "--train.compile graph --data.validation 0 --epochs 1 --export.report false --export.model false"
PLAIN = (
    "--model.batch_norm false --optimizer.kind momentum --optimizer.learning_rate 0.001 --schedule.kind constant "
    "--train.precision float32"
)
RECIPES = {  # words for `train`
    "mlp, 200 steps": f"mlp {SMALL} --data.per_class 2000",
    "cnn without batch norm, momentum, 20 steps": f"cnn {SMALL} {PLAIN} --data.per_class 256",
    "the same, 157 steps": f"cnn {SMALL} {PLAIN} --data.per_class 2000",
}
LONG = (
    "mlp --train.compile graph --data.per_class 2000 --data.validation 1000 --model.dropout 0.2 "
    "--model.batch_norm true --epochs {epochs}"
)

Process = subprocess.Popen[str]


def begin(count: int, words: Sequence[str], program: Sequence[str] = ("-m", "tfmnist", "train")) -> list[Process]:
    """Starts processes as a cluster does; the first, the chief, gets the words."""
    from tfmnist.runs.cluster import Cluster, free_address

    cluster = Cluster(tuple(free_address() for _ in range(count)), 0)
    processes: list[Process] = []
    for index in range(count):
        environment = {**os.environ, **(cluster.environment(index) if count > 1 else {}), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, *program, *(words if program[0] != "-m" or not index else ())]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    return processes


def end(processes: Sequence[Process]) -> list[tuple[int, str, str]]:
    """Waits for all; returns exit codes, last lines of output, and last lines of errors."""
    ends = []
    for process in processes:
        texts = process.communicate(timeout=600)
        out, errors = ((text.strip().splitlines() or [""])[-1] for text in texts)
        ends.append((process.returncode, out, errors))
    return ends


def train(count: int, *words: str) -> None:
    """Trains to the end, which must succeed."""
    if failed := [one for one in end(begin(count, words)) if one[0]]:
        raise RuntimeError(f"{' '.join(words)}: {failed}")


def losses(path: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]


def result(path: Path) -> dict:
    return json.loads((path / "result.json").read_text())


def check_equal(folder: Path) -> None:
    for name, words in RECIPES.items():
        weights = {}
        for count in (1, 2, 3):
            path = folder / f"{name.partition(',')[0]}-{count}"
            train(count, *words.split(), "--run-dir", str(path))
            with np.load(path / "weights.npz") as arrays:
                weights[count] = dict(arrays)
        largest = max(float(np.abs(array).max()) for array in weights[1].values())
        for count in (2, 3):
            differences = [np.abs(array - weights[count][key]).max() for key, array in weights[1].items()]
            print(
                f"{name}: {count} processes differ from one by {max(differences) / largest:.1e} of the largest weight"
            )
        ends = end(begin(3, words.split(), (__file__, "--as-process")))
        digests = [out for _, out, _ in ends]
        print(f"{name}: weights of three processes bit-equal: {len(set(digests)) == 1 and bool(digests[0])}")


def print_digest(words: list[str]) -> None:
    """Trains as one process of a cluster; prints the digest of its weights."""
    from tfmnist.cli.options import parse_train
    from tfmnist.recipe import Recipe
    from tfmnist.runs.build import build_trainer, load_section
    from tfmnist.runs.cluster import Cluster
    from tfmnist.training.distribute import Processes

    cluster = Cluster.from_environment()
    assert cluster
    cluster.meet(threading.Event())
    given = parse_train(words, "")
    recipe = Recipe.load(given.recipe).replace(given.changes)
    processes = Processes(len(cluster.addresses), cluster.index, cluster.local_index)
    trainer = build_trainer(recipe, load_section(recipe.data, recipe.train.seed), processes=processes)
    for _ in trainer.run():
        pass
    print(trainer.model.sha256())


def check_accuracy(folder: Path, seeds: int) -> None:
    for seed in range(seeds):
        path = folder / f"accuracy-{seed}"
        words = f"cnn --data.validation 0 --seed {seed} --export.report false --export.model false --run-dir {path}"
        train(2, *words.split())
        done = result(path)
        print(
            f"cnn by two processes, seed {seed}: {done['test_accuracy']:.2%} on test, {done['seconds']['train']:.0f} s",
            flush=True,
        )


def wait_for_step(path: Path, step: int, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not any(int(found.stem[5:]) >= step for found in path.glob("checkpoints/step-*.npz")):
        if time.monotonic() > until:
            raise RuntimeError(f"{path}: no checkpoint of step {step}")
        time.sleep(0.01)


def check_resume(folder: Path) -> None:
    whole, path = folder / "whole", folder / "stopped"
    words = [
        *LONG.format(epochs=3).split(),
        "--train.checkpoint_minutes",
        "1e-6",
    ]  # so that it is known when an epoch is half done
    train(2, *words, "--run-dir", str(whole))
    processes = begin(2, [*words, "--run-dir", str(path)])
    wait_for_step(path, 250)
    processes[1].send_signal(signal.SIGTERM)
    codes = [code for code, _, _ in end(processes)]
    newest = max(int(found.stem[5:]) for found in path.glob("checkpoints/step-*.npz"))
    print(f"stopped at step {newest} of 570 by SIGTERM to process 1: exit codes {codes}")
    for count in (1, 2, 3):
        again = folder / f"resumed-{count}"
        shutil.copytree(path, again)
        train(count, "--resume", str(again))
        differences = [abs(a - b) / b for a, b in zip(losses(again), losses(whole), strict=True)]
        same = result(again)["weights_sha256"] == result(whole)["weights_sha256"]
        print(f"resumed with {count}: losses differ by at most {max(differences):.1e}; weights bit-equal: {same}")


def check_faults(folder: Path) -> None:
    attacks = {
        "process 1 killed": (1, signal.SIGKILL),
        "process 1 frozen": (1, signal.SIGSTOP),
        "process 0 killed": (0, signal.SIGKILL),
    }
    for name, (index, number) in attacks.items():
        path = folder / name.replace(" ", "-")
        processes = begin(2, [*LONG.format(epochs=40).split(), "--run-dir", str(path)])
        wait_for_step(path, 190)
        processes[index].send_signal(number)
        sent = time.monotonic()
        code, _, errors = end([processes[1 - index]])[0]
        seconds = time.monotonic() - sent
        processes[index].kill()
        end([processes[index]])
        print(f"{name}: the other ends after {seconds:.1f} s with {code}: {errors.replace(str(folder), '')}")
        train(2, "--resume", str(path))
        print(f"  resumed by two: finished, {len(losses(path))} epochs")
    for missing in (0, 1):
        processes = begin(2, [*LONG.format(epochs=1).split(), "--run-dir", str(folder / "missing")])
        processes[missing].kill()
        sent = time.monotonic()
        code, _, errors = end([processes[1 - missing]])[0]
        end([processes[missing]])
        print(f"process {missing} missing: the other ends after {time.monotonic() - sent:.1f} s with {code}: {errors}")


def check_ray(folder: Path) -> None:
    import ray

    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2, _node_ip_address="127.0.0.1")
    address, path = ray.get_runtime_context().gcs_address, folder / "ray"
    words = [*LONG.format(epochs=40).split(), "--run-dir", str(path), "--processes", "2", "--ray", address]
    chief = begin(1, words)[0]
    wait_for_step(path, 190)
    peer = subprocess.run(["pgrep", "-f", "tfmnist train$"], capture_output=True, text=True).stdout.split()
    peer = [number for number in map(int, peer) if _is_peer(number)]
    os.kill(peer[0], signal.SIGKILL)
    code, _, errors = end([chief])[0]
    print(f"through Ray, the peer killed: the chief ends with {code}: {errors.replace(str(folder), '')}")
    train(1, "--resume", str(path), "--processes", "2", "--ray", address)
    print(f"  begun again: finished, {len(losses(path))} epochs")
    ray.shutdown()


def _is_peer(number: int) -> bool:
    environment = Path(f"/proc/{number}/environ").read_bytes().decode(errors="replace")
    return bool(re.search(r'"index": 1', environment))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["equal", "accuracy", "resume", "faults", "ray"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--seeds", type=int, default=2, help="of the recipe cnn")
    given = parser.parse_args()
    checks = {"equal": check_equal, "resume": check_resume, "faults": check_faults, "ray": check_ray}
    with tempfile.TemporaryDirectory() as folder:
        for part in given.parts:
            if part == "accuracy":
                check_accuracy(Path(folder), given.seeds)
            else:
                checks[part](Path(folder))


if __name__ == "__main__":
    if "--as-process" in sys.argv:
        print_digest(sys.argv[sys.argv.index("--as-process") + 1 :])
    else:
        main()
