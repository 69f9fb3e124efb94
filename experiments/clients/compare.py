"""Exports a run to every format, and compares the classes from programs that share no code with tfmnist.

    pip install -e '.[onnx,litert]'
    python experiments/clients/compare.py RUN [--images 10000] [--out FOLDER]

Each client classifies the first test images of MNIST in its own process. The table shows how often its class is the
network's, and its accuracy. The C client needs gcc, the Node client npm; without these, they are skipped.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tfmnist
from tfmnist.data.idx import write_idx

HERE = Path(__file__).parent
INT8_LOSS = 0.001  # maximum loss of accuracy


@dataclass(frozen=True)
class Row:
    """The result of a client."""

    name: str
    problem: str = ""  # why it did not run
    same: int = 0  # images with the network's class
    accuracy: float = 0.0
    seconds: float = 0.0


def main() -> None:
    """Prints the table; exits with 1 if a client's classes differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="folder in which to keep the exported models and programs")
    options = parser.parse_args()
    test = tfmnist.load("mnist", validation=0).test
    images, labels = test.images[: options.images], test.labels[: options.images]
    network = tfmnist.open_run(options.run).network
    starts = range(0, len(images), 1000)
    expected = np.concatenate([network.logits(images[i : i + 1000]).numpy().argmax(axis=1) for i in starts])
    base = float(np.mean(expected == labels))
    print(f"{options.run}: {len(images):,} images, the network's accuracy is {base:.2%}\n")
    print(f"{'client':<26}{'same class':>12}{'accuracy':>10}{'seconds':>9}")
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for row in compare(options.run, folder, images, labels, expected):
            is_right = row.same == len(images) or ("int8" in row.name and row.accuracy >= base - INT8_LOSS)
            failed |= not row.problem and not is_right
            figures = f"{row.same:>12,}{row.accuracy:>10.2%}{row.seconds:>9.1f}"
            print(f"{row.name:<26}{f'  left out: {row.problem}' if row.problem else figures}", flush=True)
    sys.exit(failed)


def compare(run: Path, folder: Path, images: np.ndarray, labels: np.ndarray, expected: np.ndarray) -> Iterator[Row]:
    """Exports a run to a folder, and yields each client's result on the images."""
    idx = folder / "images.idx"
    write_idx(idx, images)
    saved = tfmnist.export(run, folder / "digits")
    onnx = tfmnist.export(run, folder / "digits.onnx", format="onnx")
    lite = tfmnist.export(run, folder / "digits.tflite", format="litert")
    python = [sys.executable, "-P"]  # without this folder on the path
    clients: dict[str, Callable[[], list[str]]] = {
        "SavedModel, Python": lambda: [*python, str(HERE / "savedmodel.py"), str(saved)],
        "SavedModel, C": lambda: [str(build_c(folder)), str(saved)],
        "ONNX, Python": lambda: [*python, str(HERE / "onnx_python.py"), str(onnx)],
        "ONNX, Node": lambda: ["node", str(install_node(folder)), str(onnx)],
        "LiteRT float32, Python": lambda: [*python, str(HERE / "litert_python.py"), str(lite)],
        "LiteRT int8, Python": lambda: [
            *python, str(HERE / "litert_python.py"), str(lite.with_name("digits_int8.tflite"))
        ],
    }  # fmt: skip
    for name, prepare in clients.items():
        try:
            command = prepare()
        except FileNotFoundError as error:
            yield Row(name, str(error))
            continue
        began = time.perf_counter()
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run([*command, str(idx)], cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: exit code {done.returncode}: {done.stderr.strip()}")
        classes = np.array(done.stdout.split(), np.int64)
        accuracy = float(np.mean(classes == labels))
        yield Row(name, "", int(np.sum(classes == expected)), accuracy, time.perf_counter() - began)


def build_c(folder: Path) -> Path:
    """Compiles the C client against the library in TensorFlow's wheel."""
    if not shutil.which("gcc"):
        raise FileNotFoundError("gcc is not installed")
    import tensorflow as tf  # after tfmnist, which keeps its log off the screen

    library, program = tf.sysconfig.get_lib(), folder / "savedmodel"
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{library}"]
    source = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", str(HERE / "savedmodel.c"), "-o", str(program)]
    subprocess.run([*source, f"-I{tf.sysconfig.get_include()}", f"-L{library}", *libraries], check=True)
    return program


def install_node(folder: Path) -> Path:
    """Installs ONNX Runtime for Node into a folder, and returns the client, copied there."""
    if not shutil.which("npm"):
        raise FileNotFoundError("npm is not installed")
    shutil.copy(HERE / "onnx_node.js", folder)
    (folder / "package.json").write_text("{}")
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "onnxruntime-node"]
    if subprocess.run(install, cwd=folder, stdout=subprocess.DEVNULL).returncode:
        raise FileNotFoundError("npm cannot install onnxruntime-node")
    return folder / "onnx_node.js"


if __name__ == "__main__":
    main()
