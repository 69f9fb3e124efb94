"""The Open Inference Protocol v2 over REST, with binary tensors and the extra routes that Triton's client calls.

The protocol knows one set of inputs: those of `serving_default`. A request reaches another signature by input names
that only that one has, or by the parameter `signature_name`.
"""

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tfmnist.serving.messages import RequestError, describe, parse_object, to_json
from tfmnist.serving.models import DEFAULT_SIGNATURE, ServedModel, Signature, Version
from tfmnist.serving.rest_v1 import Compute
from tfmnist.serving.tensors import (
    DATATYPES,
    STRING,
    Array,
    Spec,
    are_finite,
    from_bytes,
    from_data,
    to_bytes,
    to_elements,
)
from tfmnist.system.machine import VERSION

HEADER_LENGTH = "inference-header-content-length"
EXTENSIONS = ["binary_tensor_data", "parameters", "model_configuration", "model_repository", "statistics"]

_MODEL = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>ready|infer|config|stats|trace/setting))?"
)
_REPOSITORY = re.compile(r"/v2/repository/models/(?P<name>[^/]+)/(?P<verb>load|unload)")
_PLATFORMS = {".onnx": "onnxruntime_onnx", ".tflite": "tflite"}
_MOST_TEXT = 1024  # characters of an id
# Routes of Triton's client for features not offered here: tracing, logs, shared memory.
_EMPTY: dict[str, Any] = {
    "/v2/trace/setting": {"trace_level": ["OFF"]},
    "/v2/logging": {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0},
    "/v2/systemsharedmemory/status": [],
    "/v2/cudasharedmemory/status": [],
    "/v2/models/stats": None,
}


@dataclass
class Answer:
    """A response."""

    body: bytes
    code: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass
class V2:
    """The protocol's routes over a model.

    Attributes:
        model: the served model.
        compute: calls a signature.
        most_rows: maximum rows per request.
        is_ready: whether the server accepts requests.
        statistics: the model's counts and nanoseconds, in Triton's format.
        reload: loads or unloads the model, in a thread.
    """

    model: ServedModel
    compute: Compute
    most_rows: int
    is_ready: Callable[[], bool]
    statistics: Callable[[], dict[str, Any]]
    reload: Callable[[Callable[[], None]], Awaitable[None]]

    async def answer(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        read: Callable[[], Awaitable[bytes]],
        note: Callable[[str], None],
    ) -> Answer:
        """Answers a request; its path is not URL-decoded, `read` returns its body.

        `note` is called with the route, for metrics.

        Raises:
            RequestError: the request is wrong, or cannot be answered now.
        """
        path = path.rstrip("/")
        if match := _MODEL.fullmatch(path) if path != "/v2/models/stats" else None:
            verb = match["verb"] or ""
            note("/v2/models/NAME" + (f"/{verb}" if verb else ""))
            _check_method(method, "POST" if verb == "infer" else "GET", path)
            version = self._find(unquote(match["name"]), match["version"])
            if verb == "infer":
                return await self._infer(headers, await read(), version)
            return Answer(to_json(self._describe(verb, version)))
        if match := _REPOSITORY.fullmatch(path):
            note(f"/v2/repository/models/NAME/{match['verb']}")
            _check_method(method, "POST", path)
            self._check_name(unquote(match["name"]))
            await self.reload(self.model.load if match["verb"] == "load" else self.model.unload)
            return Answer(b"{}")
        if path not in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index", *_EMPTY):
            raise RequestError(404, f"not found: {method} {unquote(path)}", "/docs lists what there is")
        note(path)
        _check_method(method, "POST" if path == "/v2/repository/index" else "GET", path)
        if path == "/v2/repository/index":
            return Answer(to_json(self._index()))
        if path in _EMPTY:
            return Answer(to_json(_EMPTY[path] if path != "/v2/models/stats" else self._stats(self.model.find())))
        return self._server(path)

    def _server(self, path: str) -> Answer:
        if path == "/v2":
            return Answer(to_json({"name": "tfmnist", "version": VERSION, "extensions": EXTENSIONS}))
        if path.endswith("live"):
            return Answer(to_json({"live": True}))
        is_ready = self.is_ready() and self.model.current is not None
        return Answer(to_json({"ready": is_ready}), 200 if is_ready else 503)

    def _check_name(self, name: str) -> None:
        if name != self.model.name:
            raise RequestError(404, f"model {name!r} is not known: expected {self.model.name!r}")

    def _find(self, name: str, version: str | None) -> Version:
        self._check_name(name)
        if version and not re.fullmatch("[0-9]{1,18}", version):
            raise RequestError(400, f"version {version[:40]!r}: expected a number")
        return self.model.find(int(version or 0))

    def _describe(self, verb: str, version: Version) -> dict[str, Any]:
        name, signature = self.model.name, version.signatures[DEFAULT_SIGNATURE]
        sides = (("inputs", signature.inputs), ("outputs", signature.outputs))
        if verb == "ready":
            if not self.is_ready():
                raise RequestError(503, "the server is stopping")
            return {"name": name, "ready": True}
        if verb == "stats":
            return self._stats(version)
        if verb == "trace/setting":
            return _EMPTY["/v2/trace/setting"]
        kind = version.exported.path.suffix if version.exported.path.is_file() else ""
        head = {"name": name, "platform": _PLATFORMS.get(kind, "tensorflow_savedmodel")}
        if verb == "config":
            config = {side[:-1]: [_configure(spec) for spec in specs.values()] for side, specs in sides}
            return {**head, "max_batch_size": self.most_rows, **config}
        tensors = {side: [_describe_tensor(spec) for spec in specs.values()] for side, specs in sides}
        return {**head, "versions": [str(version.number)], **tensors}

    def _stats(self, version: Version) -> dict[str, Any]:
        names = {"name": self.model.name, "version": str(version.number)}
        return {"model_stats": [{**names, **self.statistics()}]}

    def _index(self) -> list[dict[str, str]]:
        return [
            {
                "name": self.model.name,
                "version": str(number),
                "state": {"AVAILABLE": "READY", "LOADING": "LOADING", "UNLOADING": "UNLOADING"}.get(
                    status.state, "UNAVAILABLE"
                ),
                "reason": status.error_message,
            }
            for number, status in sorted(self.model.statuses.copy().items())
        ]

    async def _infer(self, headers: Mapping[str, str], body: bytes, version: Version) -> Answer:
        payload, binary = _split(headers, body)
        if payload is None:
            signature = version.signature(DEFAULT_SIGNATURE)
            request: dict[str, Any] = {}
            inputs = _read_raw(binary, signature)
        else:
            request = payload
            signature, inputs = _read_inputs(request, binary, version)
        wanted = _read_wanted(request, signature)
        identifier = request.get("id")
        if identifier is not None and (not isinstance(identifier, str) or len(identifier) > _MOST_TEXT):
            raise RequestError(400, f"id is {describe(identifier)}: expected text")
        outputs = await self.compute(signature, inputs)
        head = {"model_name": self.model.name, "model_version": str(version.number)}
        head |= {"id": identifier} if identifier is not None else {}
        return _write(head, {name: outputs[name] for name in wanted}, wanted)


def _check_method(method: str, expected: str, route: str) -> None:
    if method != expected:
        raise RequestError(405, f"{method} {route}: expected {expected}")


def _describe_tensor(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.sizes}


def _configure(spec: Spec) -> dict[str, Any]:
    kind = "STRING" if spec.dtype == STRING else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": spec.sizes[1:] or [1]}


def _split(headers: Mapping[str, str], body: bytes) -> tuple[dict[str, Any] | None, memoryview]:
    """Returns the JSON and the binary part of a body; the JSON is None if the body is a bare tensor."""
    text = headers.get(HEADER_LENGTH)
    if text is None:
        try:
            return parse_object(body), memoryview(b"")
        except RequestError as error:
            hint = f"if tensors follow the JSON, give its length in the header {HEADER_LENGTH.title()}"
            raise RequestError(400, error.message, hint) from None
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) > len(body):
        raise RequestError(400, f"{HEADER_LENGTH.title()} is {text[:40]!r}: expected at most the body's {len(body)}")
    length = int(text)
    return (parse_object(body[:length]) if length else None), memoryview(body)[length:]


def _read_raw(binary: memoryview, signature: Signature) -> dict[str, Array]:
    """Returns the input in a body without JSON; a string input gets one element, the whole body."""
    if len(signature.inputs) != 1:
        raise RequestError(400, f"a body without JSON holds one input: expected {', '.join(signature.inputs)}")
    (spec,) = signature.inputs.values()
    row = [size or 1 for size in spec.shape[1:]]
    if spec.dtype == STRING:
        binary = memoryview(len(binary).to_bytes(4, "little") + binary)
    rows = 1 if spec.dtype == STRING else len(binary) // max(1, math.prod(row) * spec.dtype.itemsize)
    return {spec.name: from_bytes(binary, spec, [rows, *row] if spec.shape else [])}


def _read_inputs(
    request: Mapping[str, Any], binary: memoryview, version: Version
) -> tuple[Signature, dict[str, Array]]:
    """Returns the signature that a request addresses, and its inputs."""
    tensors: dict[str, dict[str, Any]] = {}
    for tensor in _read_list(request, "inputs"):
        tensors[_read_text(tensor, "name", "an input")] = tensor
    if not tensors:
        raise RequestError(400, "'inputs' is empty or missing: expected a list of tensors")
    signature = _choose_signature(_parameters(request).get("signature_name"), tensors, version)
    for name in (*tensors, *signature.inputs):
        if name not in signature.inputs or name not in tensors:
            what = "unknown" if name in tensors else "missing"
            raise RequestError(400, f"input {name[:60]!r} is {what}: expected {', '.join(signature.inputs)}")
    if len(tensors) != len(request["inputs"]):
        raise RequestError(400, "'inputs' repeats a tensor; send each once")
    inputs: dict[str, Array] = {}
    start = 0
    for name, tensor in tensors.items():
        spec, parameters = signature.inputs[name], _parameters(tensor)
        _check_datatype(tensor, spec, version, signature)
        shape = _read_shape(tensor)
        if "shared_memory_region" in parameters:
            raise RequestError(400, f"{name}: shared memory is not supported; send the tensor")
        if (size := parameters.get("binary_data_size")) is None:
            if "data" not in tensor:
                raise RequestError(400, f"{name} has neither data nor binary_data_size")
            in_base64 = parameters.get("content_type") == "base64"
            inputs[name] = from_data(tensor["data"], spec, shape, in_base64=in_base64)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - start:
            left = len(binary) - start
            hint = f"give the length of the JSON before the tensors in the header {HEADER_LENGTH.title()}"
            raise RequestError(400, f"{name}: binary_data_size is {describe(size)}, {left} bytes are left", hint)
        inputs[name] = from_bytes(binary[start : start + size], spec, shape)
        start += size
    if start != len(binary):
        raise RequestError(400, f"{len(binary) - start} bytes follow the tensors; binary_data_size must add up")
    return signature, inputs


def _choose_signature(name: Any, tensors: Mapping[str, Any], version: Version) -> Signature:
    if name is not None:
        if not isinstance(name, str):
            raise RequestError(400, f"signature_name is {describe(name)}: expected text")
        return version.signature(name)
    default = version.signature(DEFAULT_SIGNATURE)
    fitting = [other for other in version.signatures.values() if other.inputs.keys() == tensors.keys()]
    return fitting[0] if len(fitting) == 1 and default not in fitting else default


def _check_datatype(tensor: Mapping[str, Any], spec: Spec, version: Version, signature: Signature) -> None:
    datatype = _read_text(tensor, "datatype", spec.name)
    if datatype == spec.datatype:
        return
    others = [
        other.name
        for other in version.signatures.values()
        if spec.name in other.inputs and other.inputs[spec.name].datatype == datatype
    ]
    known = datatype if datatype in DATATYPES.values() else repr(datatype[:20])
    hint = f'for {datatype}, set the request\'s parameters to {{"signature_name": "{others[0]}"}}' if others else ""
    raise RequestError(400, f"{spec.name} has datatype {known}: expected {spec.datatype}", hint)


def _read_wanted(request: Mapping[str, Any], signature: Signature) -> dict[str, bool]:
    """Returns the requested outputs, and whether each is wanted in binary."""
    in_binary = _parameters(request).get("binary_data_output") is True
    if not request.get("outputs"):
        return dict.fromkeys(signature.outputs, in_binary)
    wanted: dict[str, bool] = {}
    for output in _read_list(request, "outputs"):
        name, parameters = _read_text(output, "name", "an output"), _parameters(output)
        if name not in signature.outputs:
            raise RequestError(400, f"output {name[:60]!r} is unknown: expected {', '.join(signature.outputs)}")
        if unsupported := {"classification", "shared_memory_region"} & parameters.keys():
            raise RequestError(400, f"output {name}: the parameter {unsupported.pop()} is not supported")
        wanted[name] = parameters.get("binary_data", in_binary) is True
    return wanted


def _write(head: dict[str, Any], outputs: Mapping[str, Array], in_binary: Mapping[str, bool]) -> Answer:
    tensors: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in outputs.items():
        tensor = {"name": name, "datatype": DATATYPES[array.dtype], "shape": list(array.shape)}
        if in_binary[name]:
            parts.append(to_bytes(array))
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = to_elements(array.ravel())
        tensors.append(tensor)
    text = to_json({**head, "outputs": tensors}, finite=are_finite(outputs))
    if not parts:
        return Answer(text)
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return Answer(b"".join([text, *parts]), headers=headers)


def _parameters(value: Mapping[str, Any]) -> dict[str, Any]:
    parameters = value.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise RequestError(400, f"parameters is {describe(parameters)}: expected an object")
    return parameters


def _read_list(request: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = request.get(key, [])
    if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
        raise RequestError(400, f"'{key}' is {describe(value)}: expected a list of objects")
    return value


def _read_text(value: Mapping[str, Any], key: str, what: str) -> str:
    if not isinstance(text := value.get(key), str):
        raise RequestError(400, f"{what} has {key} {describe(text)}: expected text")
    return text


def _read_shape(tensor: Mapping[str, Any]) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise RequestError(400, f"{tensor['name'][:60]} has shape {json.dumps(shape)[:60]}: expected a list of sizes")
    return shape
