"""The OpenAPI description of every route, with the served model's image size."""

from typing import TYPE_CHECKING, Any

from tfmnist.photos.status import Status
from tfmnist.system.machine import VERSION

if TYPE_CHECKING:
    from tfmnist.serving.service import Service

Schema = dict[str, Any]

_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
}
_ERRORS = {
    "400": "The request is wrong; the error says what was expected.",
    "401": "The token is missing or wrong, if the server has one.",
    "404": "There is no such model, version or route.",
    "405": "Another method is expected.",
    "408": "The body arrived too slowly.",
    "413": "The body is too large.",
    "415": "The Content-Encoding is not supported.",
    "429": "Too many requests are waiting.",
    "501": "The model cannot do that.",
    "503": "The model is unloaded, or the server is stopping.",
    "504": "There was no answer in time.",
}
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_ANY: Schema = {"type": "object"}


def describe_routes(service: "Service") -> Schema:
    """Returns the OpenAPI 3.1 document of a service."""
    name = service.model.name
    current = service.model.current
    height, width = current.exported.image_shape if current else (28, 28)
    pixels = _list(_list({"type": "integer", "minimum": 0, "maximum": 255}, width), height)
    v1, v2 = f"/v1/models/{name}", f"/v2/models/{name}"
    paths = {
        "/read": {"post": _operation("Reads a picture file as a number, or says why it cannot", _PICTURE, _READING)},
        "/v1/models": {"get": _operation("Lists the models", None, _object(models=_list(_TEXT)))},
        v1: {"get": _operation("Reports the state of each version", None, _object(model_version_status=_list(_ANY)))},
        f"{v1}/metadata": {
            "get": _operation("Describes the signatures", None, _object(model_spec=_ANY, metadata=_ANY))
        },
        f"{v1}:predict": {
            "post": _operation("Classifies images, with TensorFlow Serving's protocol", _json(_predict(pixels)), _ANY)
        },
        f"{v1}:classify": {
            "post": _operation("Classifies examples, with TensorFlow Serving's protocol", _json(_EXAMPLES), _ANY)
        },
        "/v2": {"get": _operation("Describes the server", None, _object(name=_TEXT, version=_TEXT))},
        "/v2/health/live": {"get": _operation("Reports liveness", None, _object(live={"type": "boolean"}))},
        "/v2/health/ready": {"get": _operation("Reports readiness", None, _object(ready={"type": "boolean"}))},
        v2: {"get": _operation("Describes inputs and outputs", None, _object(name=_TEXT, inputs=_list(_ANY)))},
        f"{v2}/ready": {"get": _operation("Reports the model's readiness", None, _object(name=_TEXT))},
        f"{v2}/config": {"get": _operation("Describes the model, as Triton does", None, _object(name=_TEXT))},
        f"{v2}/stats": {
            "get": _operation("Counts requests, as Triton does", None, _object(model_stats=_list(_ANY)))
        },
        f"{v2}/infer": {
            "post": _operation(
                "Classifies images, with the Open Inference Protocol; binary tensors too",
                _json(_infer(height, width)),
                _object(model_name=_TEXT, outputs=_list(_ANY)),
            )
        },
        "/v2/repository/index": {"post": _operation("Lists the versions", None, _list(_ANY))},
        f"/v2/repository/models/{name}/load": {"post": _operation("Loads the newest version", None, _ANY)},
        f"/v2/repository/models/{name}/unload": {"post": _operation("Unloads the model", None, _ANY)},
        "/metrics": {"get": _operation("Shows metrics, for Prometheus", None, None)},
    }  # fmt: skip
    info = {
        "title": "tfmnist",
        "version": VERSION,
        "description": "Reads handwritten digits. Pictures: POST /read. Pixels: TensorFlow Serving's REST (/v1) "
        "and the Open Inference Protocol (/v2).",
    }
    document: Schema = {"openapi": "3.1.0", "info": info, "paths": paths}
    if service.token:
        document["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"token": []}]
    return document


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Schema, size: int | None = None) -> Schema:
    return {"type": "array", "items": items} | ({"minItems": size, "maxItems": size} if size else {})


def _json(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _operation(summary: str, body: Schema | None, answer: Schema | None) -> Schema:
    content = {"application/json": {"schema": answer}} if answer else {"text/plain": {"schema": _TEXT}}
    if "binary tensors" in summary:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    responses: Schema = {"200": {"description": "The answer.", "content": content}}
    for code, description in _ERRORS.items():
        responses[code] = {"description": description, "content": {"application/json": {"schema": _ERROR}}}
    return {"summary": summary, "responses": responses} | ({"requestBody": body} if body else {})


def _predict(pixels: Schema) -> Schema:
    signature = {"type": "string", "description": "serving_default if absent"}
    rows = {"type": "array", "minItems": 1, "items": {"anyOf": [pixels, _object(images=pixels)]}}
    columns = {"anyOf": [_list(pixels), _object(images=_list(pixels))]}
    return {
        "oneOf": [
            {**_object(instances=rows), "properties": {"instances": rows, "signature_name": signature}},
            {**_object(inputs=columns), "properties": {"inputs": columns, "signature_name": signature}},
        ]
    }


def _infer(height: int, width: int) -> Schema:
    size = {"type": "integer", "minimum": 0}
    tensor = _object(
        name={"const": "images"},
        datatype={"const": "UINT8"},
        shape={"type": "array", "prefixItems": [size, {"const": height}, {"const": width}], "items": False},
        data={"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}},
    )
    wanted = _list(_object(name={"enum": ["classes", "probabilities", "logits"]}))
    return {
        **_object(inputs={**_list(tensor, 1)}),
        "properties": {"id": _TEXT, "inputs": _list(tensor, 1), "outputs": wanted},
    }


_PICTURE: Schema = {
    "required": True,
    "description": "The bytes of the file, with any content type: PNG, JPEG, BMP, GIF, TIFF or WebP.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_DIGIT = _object(
    **{"class": _TEXT},
    confidence={"type": "number", "minimum": 0, "maximum": 1},
    sure={"type": "boolean", "description": "whether the confidence reaches the threshold in the model's card"},
    probabilities={"type": "object", "additionalProperties": _NUMBER},
    normalized={**_list(_list({"type": "integer"})), "description": "the image the model saw"},
)
_READING = _object(
    text={"type": "string", "description": "what was read, empty if nothing was"},
    status={
        "type": "integer",
        "description": "0 if it was read: " + "; ".join(f"{int(s)}: {s.explain()}" for s in Status),
    },
    message=_TEXT,
    digits=_list(_DIGIT),
)
_EXAMPLES = _object(
    examples=_list(_object(**{"image/encoded": _object(b64={"type": "string", "contentEncoding": "base64"})}))
)
