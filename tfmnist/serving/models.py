"""The served model: the newest intact version in its folder, which is watched for newer ones.

A new version is verified against its manifest, loaded and warmed up before it takes over. A damaged or half-copied one
is refused, reported in the log and the status, and tried again once its files have changed.
"""

import contextlib
import gc
import logging
import re
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfmnist.artifacts.exported import Exported, load_exported
from tfmnist.artifacts.versions import find_version
from tfmnist.errors import InputError
from tfmnist.serving.messages import RequestError
from tfmnist.serving.reading import EXAMPLE_PICTURE, read_number
from tfmnist.serving.tensors import STRING, Array, Spec
from tfmnist.system.files import one_line

log = logging.getLogger("tfmnist.serving")

DEFAULT_SIGNATURE = "serving_default"
_WARM_ROWS = (1, 32)
_HTTP_CODES = {3: 400, 9: 400, 11: 400, 5: 404, 8: 429, 12: 501, 14: 503, 4: 504}  # by TensorFlow's error codes


class _Gate:
    """Lets computations run concurrently, and other work run while none does."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running, self._is_closed = 0, False

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._running)
        try:
            yield
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()


_GATE = _Gate()  # one for all, as TensorFlow has one kernel cache


class Signature:
    """One signature of a loaded version, a function of arrays by name.

    Attributes:
        inputs, outputs: what it takes and returns, by name.
        batches: whether the first dimension of all of them, the rows, may have any size.
    """

    def __init__(self, exported: Exported, name: str, inputs: dict[str, Spec], outputs: dict[str, Spec]):
        self._exported, self.name, self.inputs, self.outputs = exported, name, inputs, outputs
        self.batches = all(spec.shape[:1] == (None,) for spec in (*self.inputs.values(), *self.outputs.values()))

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Returns the outputs. Raises a RequestError if TensorFlow rejects the values."""
        (value,) = inputs.values()
        try:
            with _GATE.computing():
                outputs = self._exported.call(self.name, value)
        except tf.errors.OpError as error:
            code = _HTTP_CODES.get(error.error_code, 500)
            message = " ".join(error.message.split())
            asserted = re.search(r"assertion failed: \[(.*?)\]", message)  # in exports of version 0.1
            raise RequestError(code, (asserted[1] if asserted else message)[:300]) from None
        return {name: outputs[name] for name in self.outputs}


class Version:
    """A loaded version: its number, its signatures by name, and the exported model."""

    def __init__(self, number: int, exported: Exported):
        self.number, self.exported = number, exported
        self.signatures = {
            name: Signature(exported, name, inputs, outputs)
            for name, (inputs, outputs) in _list_specs(exported).items()
        }

    def signature(self, name: str) -> Signature:
        """Returns a signature. Raises a RequestError, 400, if there is none of that name."""
        if name not in self.signatures:
            raise RequestError(
                400,
                f'Serving signature name: "{name}" not found in signature def',
                f"the model has {', '.join(self.signatures)}",
            )
        return self.signatures[name]

    @cached_property
    def definitions(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The signatures in `saved_model.pb` as protobuf JSON: with the original field names, and in camel case."""
        from google.protobuf.json_format import MessageToDict
        from tensorflow.core.protobuf import saved_model_pb2

        if self.exported.path.is_file():  # ONNX or LiteRT
            return {}, {}
        saved = saved_model_pb2.SavedModel.FromString((self.exported.path / "saved_model.pb").read_bytes())
        own, camel = (
            {
                name: MessageToDict(
                    signature, preserving_proto_field_name=own, always_print_fields_with_no_presence=True
                )
                for name, signature in saved.meta_graphs[0].signature_def.items()
            }
            for own in (True, False)
        )
        return own, camel

    def read(self, content: bytes) -> dict[str, Any]:
        """Reads a picture file, as `read_number` does."""
        with _GATE.computing():
            return read_number(self.exported, content)

    def warm(self) -> None:
        """Runs every signature once, so that no request pays for initialization."""
        for signature in self.signatures.values():
            for rows in _WARM_ROWS:
                signature({name: _make_example(spec, rows, signature.name) for name, spec in signature.inputs.items()})
        with contextlib.suppress(InputError):  # an export of version 0.1 that cannot
            self.read(EXAMPLE_PICTURE)


@dataclass
class Status:
    """The state of a version, in TensorFlow Serving's terms."""

    state: str  # START, LOADING, AVAILABLE, UNLOADING or END
    error_code: str = "OK"
    error_message: str = ""


class ServedModel:
    """A model's name, the version being served, and the status of the others.

    Attributes:
        current: None while the model is unloaded.
        statuses: by version number.
    """

    def __init__(self, path: str | Path, name: str):
        """Loads the newest intact version.

        Args:
            path: a run folder or a model folder, which is watched, or one version.
            name: the name that clients use.

        Raises:
            InputError: there is none.
        """
        self.name = name
        newest = find_version(path)
        version = newest if newest.is_dir() else newest.parent
        self._fixed = Path(path) if Path(path) in (newest, version) else None
        self._folder = version.parent
        self.current: Version | None = None
        self.statuses: dict[int, Status] = {}
        self._refused: dict[int, tuple[Any, str]] = {}  # the state of a refused version's files, and why
        self._leaving: list[weakref.ref[Version]] = []
        self._lock = threading.Lock()
        self._is_unloaded = False
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        if error := self.check():
            raise error

    def find(self, number: int | None = None, label: str = "") -> Version:
        """Returns the version being served.

        Raises:
            RequestError: 404 if the request names another one, 503 if the model is unloaded.
        """
        current = self.current
        if label or (number and (current is None or number != current.number)):
            wanted = f"Label({self.name}, {label})" if label else f"Specific({self.name}, {number})"
            hint = f"version {current.number} is served" if current else "the model is unloaded"
            raise RequestError(404, f"Servable not found for request: {wanted}", hint)
        if current is None:
            raise RequestError(503, f"{self.name} is unloaded; use POST /v2/repository/models/{self.name}/load")
        return current

    def check(self) -> InputError | None:
        """Takes over the newest intact version if it is not the current one.

        Returns:
            Why there is no version at all; None if there is one.
        """
        with self._lock:
            self._collect()
            if self._is_unloaded:
                return None
            numbers, problems = self._list_numbers(), dict[int, InputError]()
            for number in [n for n in self.statuses if n not in numbers and self.statuses[n].error_message]:
                del self.statuses[number]  # it was removed
                self._refused.pop(number, None)
            for number in numbers:
                if self.current and (number == self.current.number or number < self.current.number in numbers):
                    break
                files = self._fingerprint(number)
                known, message = self._refused.get(number, (None, ""))
                if known == files:
                    continue
                problem = self._take_over(number)
                if problem is None:
                    break
                self._refused[number] = files, str(problem)
                if str(problem) != message:  # the same problem recurs while files are being copied
                    problems[number] = problem
            if self.current is None:
                return next(iter(problems.values()), None)
            for number, problem in problems.items():
                log.error("version %d refused, %d is still served: %s", number, self.current.number, problem)
            return None

    def load(self) -> None:
        """Loads the newest version, also after `unload`. Raises a RequestError, 400, if none is intact."""
        self._is_unloaded = False
        self._refused.clear()
        if error := self.check():
            raise RequestError(400, str(error))

    def unload(self) -> None:
        """Stops serving and frees the memory, until `load`."""
        with self._lock:
            self._is_unloaded = True
            self._replace(None)
            log.info("%s: unloaded on request", self.name)

    def watch(self, seconds: float) -> None:
        """Starts a thread that checks the folder at this interval, until `close`."""

        def repeat() -> None:
            while not self._stop.wait(seconds):
                try:
                    self.check()
                except Exception:  # the next check may succeed
                    log.exception("%s: cannot check for new versions", self._folder)

        self._watcher = threading.Thread(target=repeat, name="watch", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Stops watching."""
        self._stop.set()
        if self._watcher:
            self._watcher.join()

    def _list_numbers(self) -> list[int]:
        """Returns the numbers of all version folders, complete or not, newest first."""
        if self._fixed:
            return [_number(self._fixed)]
        try:
            names = [entry.name for entry in self._folder.iterdir() if entry.is_dir()]
        except OSError:  # a network drive, perhaps; the current version stays
            return [self.current.number] if self.current else []
        return sorted((int(name) for name in names if re.fullmatch("[1-9][0-9]{0,18}", name)), reverse=True)

    def _path(self, number: int) -> Path:
        return self._fixed or self._folder / str(number)

    def _fingerprint(self, number: int) -> list[tuple[str, int, int]]:
        """Returns names, sizes and times of a version's files, to detect changes."""
        path = self._path(number)
        try:
            files = [(file, file.stat()) for file in (path.rglob("*") if path.is_dir() else [path])]
        except OSError:
            return []
        return sorted((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in files)

    def _take_over(self, number: int) -> InputError | None:
        """Loads, warms up and serves a version; returns the reason if it is refused."""
        self.statuses[number] = Status("LOADING")
        try:
            version = Version(number, load_exported(self._path(number)))
            version.warm()
        except Exception as error:
            message = str(error) if isinstance(error, InputError) else f"{self._path(number)}: {one_line(error)}"
            code = "DATA_LOSS" if isinstance(error, InputError) else "INTERNAL"
            self.statuses[number] = Status("END", code, message)
            return InputError(message)
        self._refused.pop(number, None)
        self._replace(version)
        log.info("serving version %d of %s", number, self.name)
        return None

    def _replace(self, version: Version | None) -> None:
        """Makes a version current; the old one is freed once its last request is answered."""
        old, self.current = self.current, version
        if version:
            self.statuses[version.number] = Status("AVAILABLE")
        if old:
            status = self.statuses[old.number] = Status("UNLOADING")
            weakref.finalize(old, setattr, status, "state", "END")
            self._leaving.append(weakref.ref(old))
        del old
        self._collect()

    def _collect(self) -> None:
        """Frees the memory of versions no longer in use."""
        if not self._leaving:
            return
        gc.collect()  # TensorFlow's functions form reference cycles
        left = [version for version in self._leaving if version() is not None]
        if len(left) < len(self._leaving):
            with _GATE.closed():
                _forget_kernels()
            if self.current:
                self.current.warm()
        self._leaving = left


def _forget_kernels() -> None:
    """Empties TensorFlow's kernel cache, which keeps those of deleted functions, some 14 MB per version."""
    with contextlib.suppress(ImportError, AttributeError):  # it is not public
        from tensorflow.python.eager import context

        current: Any = context.context()
        current.clear_kernel_cache()


def _number(path: Path) -> int:
    """Returns the number of a standalone version: its folder's name, or 1."""
    folder = path if path.is_dir() else path.parent
    return int(folder.name) if re.fullmatch("[1-9][0-9]{0,18}", folder.name) else 1


def _list_specs(exported: Exported) -> dict[str, tuple[dict[str, Spec], dict[str, Spec]]]:
    """Returns the inputs and outputs of each signature, sorted by name."""
    if exported.path.is_file():  # ONNX or LiteRT, whose card says what it takes
        return {
            name: (_read_specs(signature["inputs"]), _read_specs(signature["outputs"]))
            for name, signature in exported.card["signatures"].items()
        }
    return {
        name: (_to_specs(function.structured_input_signature[1]), _to_specs(function.structured_outputs))
        for name, function in exported.signatures.items()
    }


def _to_specs(tensors: Mapping[str, Any]) -> dict[str, Spec]:
    """Returns the specs of TensorFlow's tensor specs, by name."""
    return {
        name: Spec(name, np.dtype(spec.dtype.as_numpy_dtype), tuple(spec.shape.as_list()))
        for name, spec in sorted(tensors.items())
    }


def _read_specs(tensors: Mapping[str, Any]) -> dict[str, Spec]:
    """Returns the specs of a model card's tensors, by name."""
    return {
        name: Spec(
            name,
            STRING if described["dtype"] == "string" else np.dtype(described["dtype"]),
            tuple(size if isinstance(size, int) else None for size in described["shape"]),
        )
        for name, described in sorted(tensors.items())
    }


def _make_example(spec: Spec, rows: int, signature: str) -> Array:
    shape = [rows if size is None else size for size in spec.shape]
    if spec.dtype != STRING:
        return np.zeros(shape, spec.dtype)
    content = EXAMPLE_PICTURE
    if signature == "classify":
        content = make_example({"image/encoded": [content]})
    return np.full(shape, content, STRING)


def make_example(features: Mapping[str, list[Any]]) -> bytes:
    """Returns a serialized `tf.train.Example` with lists of bytes, integers or floats."""
    lists: dict[str, tf.train.Feature] = {}
    for name, values in features.items():
        kinds = set(map(type, values))
        if kinds <= {bytes}:
            lists[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        elif kinds == {int}:
            lists[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            lists[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()
