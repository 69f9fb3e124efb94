"""TensorFlow Serving's REST API, with the few keys that KServe adds.

The content type of a request is ignored.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np

from tfmnist.serving.messages import RequestError, describe, parse_object, to_json
from tfmnist.serving.models import DEFAULT_SIGNATURE, ServedModel, Signature, Version, make_example
from tfmnist.serving.tensors import STRING, Array, Spec, are_finite, from_lists, is_base64, to_elements

Compute = Callable[[Signature, Mapping[str, Array]], Awaitable[dict[str, Array]]]

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
    r"(?::(?P<verb>predict|classify|regress)|(?P<metadata>/metadata))?",
    re.IGNORECASE,
)
_ROUTES = "POST /v1/models/{0}[/versions/N]:predict or :classify, GET /v1/models/{0}[/versions/N][/metadata]"


async def answer(
    method: str,
    path: str,
    read: Callable[[], Awaitable[bytes]],
    model: ServedModel,
    compute: Compute,
    note: Callable[[str], None],
) -> bytes:
    """Answers a request.

    Args:
        method: the HTTP method.
        path: not URL-decoded, without the query.
        read: returns the body.
        model: the served model.
        compute: calls a signature.
        note: called with the route, for metrics.

    Returns:
        The response's JSON.

    Raises:
        RequestError: the request is wrong, or cannot be answered now.
    """
    if method == "GET" and path.lower().rstrip("/") == "/v1/models":
        note("/v1/models")
        return to_json({"models": [model.name]})
    match = _PATH.fullmatch(path)
    verb = (match["verb"] or "").lower() if match else ""
    if not match or method != ("POST" if verb else "GET"):
        raise RequestError(
            400, f"Malformed request: {method} {unquote(path)}", "expected " + _ROUTES.format(model.name)
        )
    note("/v1/models/NAME" + (f":{verb}" if verb else match["metadata"] or "").lower())
    name, digits, label = unquote(match["name"]), match["version"] or "0", unquote(match["label"] or "")
    if len(digits) > 40 or int(digits) >= 1 << 63:
        raise RequestError(400, f"Failed to convert version: {digits[:40]} to numeric.")
    number = int(digits)
    if name != model.name:
        wanted = f"Specific({name}, {number})" if number else f"Label({name}, {label})" if label else f"Latest({name})"
        raise RequestError(404, f"Servable not found for request: {wanted}", f"the model is called {model.name}")
    if verb:
        payload = parse_object(await read())
        version = model.find(number, label)
        if verb == "predict":
            return await _predict(payload, version, compute)
        if verb == "classify":
            return await _classify(payload, version, compute)
        raise RequestError(400, "Expected regression signature: the model has none", "use :predict or :classify")
    if match["metadata"]:
        return to_json(_metadata(model, model.find(number, label)))
    return to_json(_status(model, number, label))


def _status(model: ServedModel, number: int, label: str) -> dict[str, Any]:
    if label or (number and number not in model.statuses):
        model.find(number, label)  # raises the error
    states = [
        {
            "version": str(known),
            "state": status.state,
            "status": {"error_code": status.error_code, "error_message": status.error_message},
        }
        for known, status in sorted(model.statuses.copy().items(), reverse=True)
        if number in (0, known)
    ]
    return {"model_version_status": states, "name": model.name, "ready": model.current is not None}


def _metadata(model: ServedModel, version: Version) -> dict[str, Any]:
    own, camel = version.definitions
    name, number = model.name, str(version.number)
    return {
        "model_spec": {"name": name, "signature_name": "", "version": number},
        "modelSpec": {"name": name, "signatureName": "", "version": number},  # as OpenVINO Model Server writes it
        "metadata": {"signature_def": {"signature_def": own, "signatureDef": camel}},
    }


def _signature_name(payload: Mapping[str, Any], default: str) -> str:
    name = payload.get("signature_name", default)
    if not isinstance(name, str):
        raise RequestError(400, f"'signature_name' key must be a string value: got {describe(name)}")
    return name or default


async def _predict(payload: Mapping[str, Any], version: Version, compute: Compute) -> bytes:
    signature = version.signature(_signature_name(payload, DEFAULT_SIGNATURE))
    if ("instances" in payload) == ("inputs" in payload):
        found = "both" if "inputs" in payload else "neither"
        raise RequestError(400, f"expected 'instances', a list of rows, or 'inputs', columns by name: got {found}")
    if "inputs" in payload:
        outputs = await compute(signature, _read_columns(payload["inputs"], signature))
        return to_json({"outputs": _write_columns(outputs)}, finite=are_finite(outputs))
    rows = payload["instances"]
    outputs = await compute(signature, _read_rows(rows, signature))
    return to_json({"predictions": _write_rows(outputs, len(rows))}, finite=are_finite(outputs))


def _read_rows(rows: Any, signature: Signature) -> dict[str, Array]:
    names = list(signature.inputs)
    if not isinstance(rows, list) or not rows:
        raise RequestError(400, f"'instances' is {describe(rows)}: expected a list of at least one row")
    named = [type(row) is dict and not is_base64(row) for row in rows]
    if not any(named):
        if len(names) != 1:
            raise RequestError(
                400, f"'instances' has plain values: expected objects with the inputs {', '.join(names)}"
            )
        return {names[0]: from_lists(rows, signature.inputs[names[0]])}
    if not all(named):
        raise RequestError(400, f"'instances' mixes objects and plain values, such as row {named.index(False)}")
    for index, row in enumerate(rows):
        if row.keys() != signature.inputs.keys():
            found = ", ".join(repr(key)[:40] for key in list(row)[:5]) or "nothing"
            raise RequestError(400, f"row {index} of 'instances' has {found}: expected exactly {', '.join(names)}")
    return {name: from_lists([row[name] for row in rows], spec) for name, spec in signature.inputs.items()}


def _read_columns(columns: Any, signature: Signature) -> dict[str, Array]:
    names = list(signature.inputs)
    if type(columns) is not dict or is_base64(columns):
        if len(names) != 1:
            raise RequestError(400, f"'inputs' is {describe(columns)}: expected an object with {', '.join(names)}")
        columns = {names[0]: columns}
    if missing := [name for name in names if name not in columns]:
        raise RequestError(400, f"'inputs' lacks {', '.join(missing)}: expected an object with {', '.join(names)}")
    return {name: from_lists(columns[name], spec) for name, spec in signature.inputs.items()}


def _write_columns(outputs: Mapping[str, Array]) -> Any:
    columns = {name: to_elements(array, in_base64=name.endswith("_bytes")) for name, array in outputs.items()}
    return next(iter(columns.values())) if len(columns) == 1 else columns


def _write_rows(outputs: Mapping[str, Array], count: int) -> Any:
    for name, array in outputs.items():
        if not array.ndim or len(array) != count:
            expected = f"expected {count}, one for each of 'instances'; use 'inputs'"
            raise RequestError(400, f"the output {name} has shape {list(array.shape)}: {expected}")
    columns = {name: to_elements(array, in_base64=name.endswith("_bytes")) for name, array in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


async def _classify(payload: Mapping[str, Any], version: Version, compute: Compute) -> bytes:
    signature = version.signature(_signature_name(payload, "classify"))
    (spec,) = signature.inputs.values()
    if spec.dtype != STRING or len(spec.shape) != 1 or not {"classes", "scores"} <= signature.outputs.keys():
        raise RequestError(400, f"the signature {signature.name} does not classify examples", "use :predict")
    examples = payload.get("examples")
    if not isinstance(examples, list) or not examples:
        raise RequestError(400, f"'examples' is {describe(examples)}: expected a list of at least one object")
    context = _read_features(payload.get("context", {}), "'context'")
    serialized = np.empty(len(examples), STRING)
    for index, example in enumerate(examples):
        try:
            serialized[index] = make_example(context | _read_features(example, f"example {index}"))
        except ValueError:  # from protobuf
            raise RequestError(400, f"example {index} has an integer of more than 64 bits") from None
    outputs = await compute(signature, {spec.name: serialized})
    results = [list(zip(*pair)) for pair in zip(to_elements(outputs["classes"]), outputs["scores"])]
    return to_json({"results": results}, finite=are_finite(outputs))


def _read_features(example: Any, what: str) -> dict[str, list[Any]]:
    if type(example) is not dict:
        raise RequestError(400, f'{what} is {describe(example)}: expected an object, such as {{"x": {{"b64": ...}}}}')
    features: dict[str, list[Any]] = {}
    for name, value in example.items():
        values = value if isinstance(value, list) else [value]
        if not set(map(type, values)) <= {int, float}:
            values = from_lists(values, Spec(f"{what}, {name[:40]}", STRING, (None,))).tolist()
        features[name] = values
    return features
