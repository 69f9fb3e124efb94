"""Feeds mutated files and requests to every parser, and looks for crashes, and for small inputs that cost much.

    python experiments/reliability/fuzz.py [--parsers idx csv ...] [--executions 100000] [--seed 0]

An execution takes a good input and flips bits, cuts, repeats or exchanges parts of it, or writes extreme numbers. A
parser may read the result or refuse it by an error of the project; anything else is a crash, which is printed with the
input in hexadecimal. So is an input that takes over 2 seconds, or 300 MB more memory than all before it.
"""

import argparse
import gzip
import io
import json
import random
import resource
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

import tfmnist
from tfmnist.artifacts.card import ModelCard
from tfmnist.data.csv_files import read_csv
from tfmnist.data.idx import read_idx
from tfmnist.data.npz import read_npz
from tfmnist.errors import InputError, TfmnistError
from tfmnist.photos.decode import decode
from tfmnist.recipe import Recipe
from tfmnist.runs.result import Result
from tfmnist.serving.messages import RequestError, decompress, parse_json
from tfmnist.serving.tensors import STRING, Spec, from_bytes, from_data, from_lists
from tfmnist.sweeps.sweep_file import Sweep

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

Parser = Callable[[bytes], object]

SLOW, LARGE = 2.0, 300  # seconds; megabytes
MOST = 1 << 20  # bytes of an input
NUMBERS = [b"0", b"-1", b"1e999", b"nan", b"99999999999999999999", b"2147483648", b"9223372036854775808"]
NUMBERS += [b"9" * 4000, b"\xff" * 4]
ALLOWED = (TfmnistError, RequestError)


def mutate(content: bytes, chooser: random.Random) -> bytes:
    """Returns a changed copy of a good input."""
    changed = bytearray(content)
    for _ in range(chooser.choice((1, 1, 1, 2, 4, 8))):
        at, end = sorted(chooser.randrange(len(changed) + 1) for _ in range(2))
        match chooser.randrange(7):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << chooser.randrange(8)
            case 1:
                del changed[at:end]
            case 2:
                changed[at:at] = changed[at:end] * chooser.choice((1, 2, 50))
            case 3:
                changed[at : at + chooser.randrange(4)] = chooser.choice(NUMBERS)
            case 4:
                changed[at:end] = chooser.randbytes(chooser.randrange(9))
            case 5:
                changed[at:at] = chooser.choice((b"[", b"{", b'"', b"\0", b"\n", b"[[", b",")) * chooser.choice(
                    (1, 3, 3000)
                )
            case _:
                changed = changed[at:] + changed[:at]
        del changed[MOST:]
    return bytes(changed)


def through_file(read: Callable[[Path], object], path: Path) -> Parser:
    """Returns a parser of bytes from one of files, which are written to a path."""

    def parse(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return parse


def card_of(content: bytes) -> ModelCard:
    """Reads a model card as `read_card` does, whose caller turns this one kind of error into a line."""
    try:
        return ModelCard.model_validate_json(content)
    except ValueError:
        raise InputError("its model card is damaged") from None


def request(body: bytes) -> object:
    """Reads the tensors of a request as both protocols do."""
    value = parse_json(body)
    spec = Spec("images", np.dtype(np.uint8), (None, 4, 4))
    if isinstance(value, dict) and isinstance(value.get("data"), list) and isinstance(value.get("shape"), list):
        shape = [size for size in value["shape"] if type(size) is int and 0 <= size < 2**40]
        return from_data(value["data"], spec, shape)
    return from_lists(value, spec)


def binary(data: bytes) -> object:
    """Reads binary tensors as the Open Inference Protocol does: numbers, or strings after their lengths."""
    if data[:1] == b"3":
        return from_bytes(memoryview(data)[1:], Spec("image_bytes", STRING, (None,)), [3])
    return from_bytes(memoryview(data), Spec("images", np.dtype(np.uint8), (None, 4, 4)), [len(data) // 16, 4, 4])


def decoder() -> Parser:
    """Returns a function that decodes a picture in graph, the first step of `image_bytes`."""
    graph = tf.function(lambda content: decode(content)[1], input_signature=[tf.TensorSpec([], tf.string)])

    def parse(content: bytes) -> object:
        try:
            return graph(content)
        except tf.errors.InvalidArgumentError:  # which `image_bytes` turns into a status
            raise InputError("damaged") from None

    return parse


def parsers(folder: Path) -> dict[str, tuple[Parser, list[bytes]]]:
    """Returns the parsers by name, each with good inputs."""
    pixels = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    arrays, card = io.BytesIO(), tfmnist.MLP((4, 4), [2], 2)
    np.savez(arrays, x_train=pixels, y_train=np.array([0, 1]), x_test=pixels, y_test=np.array([1, 0]))
    idx = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in pixels.shape) + pixels.tobytes()
    csv = (
        "label," + ",".join(f"pixel{n}" for n in range(16)) + "\n" + "\n".join("3," + ",".join("7" * 16) for _ in "ab")
    )
    sweep = 'recipe = "mlp"\n[space]\nmodel.hidden = { choice = [[20], [30]] }\n"optimizer.learning_rate" = '
    sweep += '{ low = 0.001, high = 0.1, log = true }\n[search]\nsampler = "random"\ntrials = 4\n'
    model = tfmnist.export(card, folder / "model", class_names=["a", "b"])
    described = (model / "assets.extra" / "model_card.json").read_bytes()
    data = {"source": "x", "sha256": "0", "train": 1, "validation": 0, "test": 1, "classes": 2}
    result = {"name": "x", "test_accuracy": 0.5, "test_accuracy_ci95": [0.4, 0.6], "test_loss": 1.0, "epochs": 1}
    result |= {
        "validation_accuracy": None,
        "steps": 1,
        "parameters": 1,
        "seed": 0,
        "weights_sha256": "0",
        "versions": {},
    }
    result["data"] = {**data, "class_names": ["a", "b"], "image_shape": [4, 4]}
    exported = tfmnist.load_exported(tfmnist.export(tfmnist.MLP(hidden=[4]), folder / "digits"))
    return {
        "idx": (through_file(read_idx, folder / "input"), [idx]),
        "npz": (through_file(read_npz, folder / "input.npz"), [arrays.getvalue()]),
        "csv": (through_file(read_csv, folder / "input.csv"), [csv.encode()]),
        "recipe": (through_file(Recipe.load, folder / "recipe.toml"), [Recipe.load("mlp").to_toml().encode()]),
        "sweep": (through_file(Sweep.load, folder / "sweep.toml"), [sweep.encode()]),
        "card": (card_of, [described]),
        "result": (
            through_file(lambda path: Result.read(path.parent), folder / "result.json"),
            [json.dumps(result).encode()],
        ),
        "request": (
            request,
            [b"[[[1,2,3,4],[1,2,3,4],[1,2,3,4],[1,2,3,4]]]", b'{"shape":[1,4,4],"data":[%s]}' % b",".join([b"7"] * 16)],
        ),
        "binary": (binary, [bytes(32), b"3" + b"\5\0\0\0digit" * 3]),
        "compressed": (
            lambda body: decompress(body, "gzip", MOST),
            [gzip.compress(bytes(9000)), zlib.compress(pixels.tobytes() * 9)],
        ),
        "decoder": (decoder(), pictures()),
        "pictures": (lambda content: exported.predict_pictures([content]), pictures()),
    }


def pictures() -> list[bytes]:
    """Returns a digit as files of each format."""
    image = Image.fromarray(255 - tfmnist.load("mnist").test.images[0]).resize((56, 56))
    files: list[bytes] = []
    for kind, options in (("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}), ("GIF", {})):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    palette = io.BytesIO()
    image.convert("P").save(palette, "PNG")
    return [*files, palette.getvalue()]


def megabytes() -> float:
    """Returns the most memory that this process has used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def attack(parse: Parser, seeds: list[bytes], executions: int, seed: int) -> tuple[int, float, float, list[str]]:
    """Returns how many inputs were refused, the slowest's seconds, the memory gained, and what was wrong."""
    chooser, faults, refused, slowest = random.Random(seed), [], 0, 0.0
    for good in seeds:
        parse(good)
    before = highest = megabytes()
    for number in range(executions):
        content = mutate(chooser.choice(seeds), chooser)
        began, what = time.perf_counter(), ""
        try:
            parse(content)
        except ALLOWED:
            refused += 1
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:100]}"
        seconds, now = time.perf_counter() - began, megabytes()
        slowest = max(slowest, seconds)
        if seconds > SLOW or now - highest > LARGE:
            what = what or f"{seconds:.1f} s, {now - highest:.0f} MB"
        highest = max(highest, now)
        if what:
            faults.append(f"{number}: {what}: {content[:200].hex()} ({len(content)} bytes)")
    return refused, slowest, highest - before, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parsers", nargs="+", help="by default all")
    parser.add_argument("--executions", type=int, default=100_000, help="of each parser")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (parse, seeds) in parsers(Path(folder)).items():
            if given.parsers and name not in given.parsers:
                continue
            refused, slowest, gained, faults = attack(parse, seeds, given.executions, given.seed)
            print(*(f"{name} {fault}" for fault in faults[:20]), sep="\n", flush=True)
            counts = f"{given.executions:,}", f"{refused / given.executions:.0%}"
            rows.append([name, *counts, f"{slowest:.2f}", f"{gained:.0f}", str(len(faults))])
    print(markdown(["parser", "executions", "refused", "slowest, s", "memory gained, MB", "faults"], rows))


if __name__ == "__main__":
    main()
