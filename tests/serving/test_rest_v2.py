"""The Open Inference Protocol v2, item by item as its clients rely on it, and what Triton's client asks for besides."""

import base64
import gzip
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.serving.models import ServedModel

INFER = "/v2/models/tfmnist/infer"
IMAGES = np.random.default_rng(3).integers(0, 256, (5, 28, 28)).astype(np.uint8)
LENGTH = "inference-header-content-length"
Client = Any  # the one of conftest.py
MakeClient = Callable[..., Client]


def tensor(images: Any = IMAGES, **changes: Any) -> dict[str, Any]:
    array = np.asarray(images)
    return {"name": "images", "shape": list(array.shape), "datatype": "UINT8", "data": array.tolist()} | changes


def ask(client: Client, *inputs: dict[str, Any], **others: Any) -> tuple[int, dict[str, Any]]:
    answer = client.post(INFER, json.dumps({"inputs": inputs, **others}))
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


def refuse(client: Client, words: str, *inputs: Any, **others: Any) -> None:
    code, answer = ask(client, *inputs, **others)
    assert code == 400 and re.search(words, answer["error"]), answer


def ask_in_binary(client: Client, request: dict[str, Any], data: bytes, **headers: str) -> Any:
    text = json.dumps(request).encode()
    body = text + data
    if headers.get("content_encoding") == "gzip":
        body = gzip.compress(body)
    return client.post(INFER, body, **{LENGTH: str(len(text)), **headers})


def split(answer: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The JSON and the binary tensors of an answer."""
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[LENGTH])
    payload, start = json.loads(answer.content[:length]), length
    tensors: dict[str, bytes] = {}
    for output in payload["outputs"]:
        if size := output.get("parameters", {}).get("binary_data_size"):
            tensors[output["name"]] = answer.content[start : start + size]
            start += size
    assert start == len(answer.content)
    return payload, tensors


def test_server_and_health(client: Client, make_client: MakeClient, exported: Path) -> None:
    server = client.get("/v2").json()
    assert server["name"] == "tfmnist" and server["version"] and "binary_tensor_data" in server["extensions"]
    assert client.get("/v2/").json() == server
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/tfmnist/ready", "/v2/models/tfmnist/versions/1/ready", "/v2/models/%74fmnist/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"name": "tfmnist", "ready": True})
    assert client.get("/v2/models/other/ready").status_code == 404


def test_metadata_and_configuration(client: Client) -> None:
    metadata = client.get("/v2/models/tfmnist").json()
    assert metadata["name"] == "tfmnist" and metadata["versions"] == ["1"] and metadata["platform"]
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}]
    outputs = {output["name"]: (output["datatype"], output["shape"]) for output in metadata["outputs"]}
    assert outputs == {"classes": ("INT64", [-1]), "probabilities": ("FP32", [-1, 10]), "logits": ("FP32", [-1, 10])}
    assert client.get("/v2/models/tfmnist/versions/1").json() == metadata
    config = client.get("/v2/models/tfmnist/config").json()
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [28, 28]}]
    assert config["max_batch_size"] > 0 and len(config["output"]) == 3


def test_statistics_and_the_repository(client: Client) -> None:
    assert ask(client, tensor())[0] == 200 and ask(client, tensor(), outputs=[{"name": "x"}])[0] == 400
    for path in ("/v2/models/tfmnist/stats", "/v2/models/stats", "/v2/models/tfmnist/versions/1/stats"):
        (statistics,) = client.get(path).json()["model_stats"]
        assert statistics["name"] == "tfmnist" and statistics["version"] == "1"
        assert statistics["inference_count"] == 5 and statistics["execution_count"] == 1
        assert statistics["inference_stats"]["success"]["count"] == 1 == statistics["inference_stats"]["fail"]["count"]
        assert statistics["inference_stats"]["compute_infer"]["ns"] > 0 and statistics["last_inference"] > 1e12
    index = client.post("/v2/repository/index").json()
    assert index == [{"name": "tfmnist", "version": "1", "state": "READY", "reason": ""}]
    for path in ("/v2/trace/setting", "/v2/models/tfmnist/trace/setting"):
        assert client.get(path).json()["trace_level"] == ["OFF"]
    assert client.get("/v2/systemsharedmemory/status").json() == client.get("/v2/cudasharedmemory/status").json() == []
    assert client.get("/v2/logging").status_code == 200


def test_unload_and_load(make_client: MakeClient, exported: Path) -> None:
    client = make_client(ServedModel(exported, "tfmnist"))
    assert client.post("/v2/repository/models/tfmnist/unload").status_code == 200
    assert client.get("/v2/models/tfmnist/ready").status_code == client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/health/ready").json() == {"ready": False}
    code, answer = ask(client, tensor())
    assert code == 503 and "unloaded" in answer["error"]
    assert client.get("/v1/models/tfmnist").json()["ready"] is False
    assert client.post("/v2/repository/index").json()[0]["state"] == "UNAVAILABLE"
    assert client.post("/v2/repository/models/tfmnist/load", b"{}").status_code == 200
    assert ask(client, tensor())[0] == 200 and client.get("/v2/models/tfmnist/ready").status_code == 200
    assert client.post("/v2/repository/models/other/load").status_code == 404


@pytest.mark.parametrize("flat", [False, True])
def test_data_in_json(client: Client, expected: tfmnist.Exported, flat: bool) -> None:
    data = (IMAGES.ravel() if flat else IMAGES).tolist()
    code, answer = ask(client, tensor(data=data), id="a1")
    assert code == 200 and answer["model_name"] == "tfmnist" and answer["model_version"] == "1" and answer["id"] == "a1"
    outputs = {output["name"]: output for output in answer["outputs"]}
    wanted = expected.predict(IMAGES)
    assert outputs["classes"] == {"name": "classes", "datatype": "INT64", "shape": [5], "data": wanted.classes.tolist()}
    assert outputs["logits"]["shape"] == [5, 10] and outputs["logits"]["datatype"] == "FP32"
    np.testing.assert_array_equal(np.float32(outputs["logits"]["data"]), wanted.logits.ravel())
    assert "null" not in json.dumps(answer)


def test_no_images_and_no_id(client: Client) -> None:
    code, answer = ask(client, tensor(np.zeros([0, 28, 28], int)))
    assert code == 200 and "id" not in answer
    assert {output["name"]: output["shape"] for output in answer["outputs"]}["logits"] == [0, 10]
    assert all(output["data"] == [] for output in answer["outputs"])


def test_outputs_that_are_wanted(client: Client) -> None:
    code, answer = ask(client, tensor(), outputs=[{"name": "logits"}, {"name": "classes"}])
    assert code == 200 and [output["name"] for output in answer["outputs"]] == ["logits", "classes"]
    assert len(ask(client, tensor(), outputs=[])[1]["outputs"]) == 3
    refuse(client, "output 'x' is unknown: expected classes", tensor(), outputs=[{"name": "x"}])
    wanted = [{"name": "classes", "parameters": {"classification": 2}}]
    refuse(client, "classification is not supported", tensor(), outputs=wanted)


@pytest.mark.parametrize(
    ("words", "inputs"),
    [
        ("'inputs' is empty or missing", []),
        ("input 'x' is unknown: expected images", [tensor(name="x")]),
        ("input 'x' is unknown", [tensor(), tensor(name="x")]),
        ("repeats", [tensor(), tensor()]),
        ("images has datatype FP32: expected UINT8", [tensor(datatype="FP32")]),
        ("images has datatype 'U8'", [tensor(datatype="U8")]),
        ("datatype null: expected text", [tensor(datatype=None)]),
        ("name 3: expected text", [tensor(name=3)]),
        (r"images has rank 2, shape \[5, 784\]", [tensor(shape=[5, 784])]),
        ("images has 27 elements at level 1", [tensor(shape=[5, 27, 28])]),
        (r"3920 elements in data: expected shape \[6, 28, 28\]", [tensor(shape=[6, 28, 28])]),
        ("expected shape", [tensor(shape=[10**18, 28, 28])]),
        ("expected a list of sizes", [tensor(shape=[10**30, 28, 28])]),
        ("expected a list of sizes", [tensor(shape=[-1, 28, 28])]),
        ("expected a list of sizes", [tensor(shape=[5.0, 28, 28])]),
        ("expected a list of sizes", [tensor(shape=None)]),
        ("lists of 1 and of 2 elements", [tensor(data=[[1], [1, 2]])]),
        ("0.5 Type: Number is not of expected type: uint8", [tensor(IMAGES / 255, data=[0.5] * 3920)]),
        ("300 is out of range for uint8", [tensor(data=[300] * 3920)]),
        ("neither data nor binary_data_size", [{"name": "images", "shape": [5, 28, 28], "datatype": "UINT8"}]),
        ("binary_data_size is 3920, 0 bytes are left", [tensor(parameters={"binary_data_size": 3920})]),
        ("binary_data_size is true", [tensor(parameters={"binary_data_size": True})]),
        ("shared memory is not supported", [tensor(parameters={"shared_memory_region": "r"})]),
        ("parameters is 3", [tensor(parameters=3)]),
    ],
)
def test_wrong_inputs_are_named(client: Client, words: str, inputs: list[Any]) -> None:
    refuse(client, words, *inputs)


def test_wrong_requests_are_named(client: Client) -> None:
    for body, words in (
        (b"", "JSON Parse error"),
        (b"[]", "expected a JSON object"),
        (b'{"inputs": 3}', "'inputs' is 3"),
    ):
        answer = client.post(INFER, body)
        assert answer.status_code == 400 and words in answer.json()["error"]
    refuse(client, "id is 3: expected text", tensor(), id=3)
    for path in ("/v2/models/other/infer", "/v2/models/tfmnist/versions/9/infer"):
        assert client.post(path, json.dumps({"inputs": [tensor()]})).status_code == 404
    assert client.get("/v2/models/tfmnist/versions/x").status_code == 400
    for method, path in (("GET", INFER), ("POST", "/v2"), ("GET", "/v2/repository/index"), ("PUT", "/v2/health/live")):
        answer = client.request(method, path)
        assert answer.status_code == 405 and "expected" in answer.json()["error"]
    answer = client.get("/v2/nothing")
    assert answer.status_code == 404 and answer.json()["error"] == "not found: GET /v2/nothing"


def test_other_signatures(client: Client, draw: Callable[..., bytes], expected: tfmnist.Exported) -> None:
    floats = tensor(IMAGES / 255, datatype="FP32")
    code, answer = ask(client, floats)
    assert code == 400 and '{"signature_name": "float_images"}' in answer["hint"]
    code, answer = ask(client, floats, parameters={"signature_name": "float_images"})
    assert code == 200 and answer["outputs"][0]["data"] == expected.predict(IMAGES).classes.tolist()
    refuse(client, '"x" not found', tensor(), parameters={"signature_name": "x"})
    refuse(client, "signature_name is 3", tensor(), parameters={"signature_name": 3})
    picture = base64.b64encode(draw()).decode()
    content = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "data": [picture]}
    code, answer = ask(client, content | {"parameters": {"content_type": "base64"}})  # MLServer's
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    wanted = expected.predict_pictures([draw()])
    assert code == 200 and outputs["status"] == [0] and outputs["classes"] == wanted.classes.tolist()
    assert ask(client, content)[1]["outputs"]  # text is a picture that cannot be read
    refuse(client, "an object in data: expected text", content | {"data": [{"b64": picture}]})
    refuse(client, "invalid base64", content | {"data": ["-_"], "parameters": {"content_type": "base64"}})


def test_binary_tensors(client: Client, expected: tfmnist.Exported) -> None:
    wanted = expected.predict(IMAGES)
    images = {key: value for key, value in tensor().items() if key != "data"}
    images["parameters"] = {"binary_data_size": IMAGES.size}
    request: dict[str, Any] = {"inputs": [images]}
    answer = ask_in_binary(client, request, IMAGES.tobytes())
    assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == wanted.classes.tolist()
    everything = {**request, "parameters": {"binary_data_output": True}}
    for headers in ({}, {"content_encoding": "gzip"}, {"content_type": "application/octet-stream"}):
        payload, tensors = split(ask_in_binary(client, everything, IMAGES.tobytes(), **headers))
        assert payload["model_name"] == "tfmnist" and all("data" not in output for output in payload["outputs"])
        np.testing.assert_array_equal(np.frombuffer(tensors["classes"], "<i8"), wanted.classes)
        np.testing.assert_array_equal(np.frombuffer(tensors["logits"], "<f4").reshape(5, 10), wanted.logits)
    outputs = [{"name": "classes", "parameters": {"binary_data": False}}, {"name": "logits"}]
    payload, tensors = split(ask_in_binary(client, {**everything, "outputs": outputs}, IMAGES.tobytes()))
    assert payload["outputs"][0]["data"] == wanted.classes.tolist() and list(tensors) == ["logits"]
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "classes"}]
    payload, tensors = split(ask_in_binary(client, {**request, "outputs": outputs}, IMAGES.tobytes()))
    assert payload["outputs"][1]["data"] == wanted.classes.tolist() and list(tensors) == ["logits"]
    for data, words in (
        (b"", "binary_data_size is 3920, 0 bytes are left"),
        (bytes(3921), "1 bytes follow the tensors"),
    ):
        answer = ask_in_binary(client, request, data)
        assert answer.status_code == 400 and words in answer.json()["error"]
    images["shape"] = [4, 28, 28]
    answer = ask_in_binary(client, request, IMAGES.tobytes())
    assert answer.status_code == 400 and "3920 bytes: expected 3136 for shape [4, 28, 28]" in answer.json()["error"]


def test_binary_strings(client: Client, draw: Callable[..., bytes]) -> None:
    files = [draw(), b"no picture"]
    data = b"".join(struct.pack("<I", len(file)) + file for file in files)
    image_bytes: dict[str, Any] = {"name": "image_bytes", "shape": [2], "datatype": "BYTES"}
    for changed, shape, words in (
        (data, [2], ""),
        (data, [3], "2 strings in its bytes: expected 3"),
        (data, [1], "over 1 strings"),
        (data[:-1], [2], "element 1 is longer than the data"),
        (data + b"\xff", [2], "over 2|longer"),
    ):
        tensor = {**image_bytes, "shape": shape, "parameters": {"binary_data_size": len(changed)}}
        answer = ask_in_binary(client, {"inputs": [tensor], "outputs": [{"name": "status"}]}, changed)
        if words:
            assert answer.status_code == 400 and re.search(words, answer.json()["error"])
        else:
            assert answer.json()["outputs"][0]["data"] == [0, 1]


def test_the_length_of_the_json(client: Client, expected: tfmnist.Exported) -> None:
    answer = client.post(INFER, IMAGES.tobytes(), **{LENGTH: "0"})
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["data"] == expected.predict(IMAGES).classes.tolist()
    answer = client.post(INFER, IMAGES.tobytes()[:-1], **{LENGTH: "0"})
    assert answer.status_code == 400 and "3919 bytes: expected 3136" in answer.json()["error"]
    for length in ("-1", "x", "9999999", "1" * 50):
        answer = client.post(INFER, b"{}", **{LENGTH: length})
        assert answer.status_code == 400 and "Inference-Header-Content-Length is" in answer.json()["error"]
    answer = client.post(INFER, json.dumps({"inputs": []}).encode()[:-1] + IMAGES.tobytes())
    assert answer.status_code == 400 and "Inference-Header-Content-Length" in answer.json()["hint"]


def test_compressed_answers(client: Client) -> None:
    many = tensor(np.zeros([200, 28, 28], int))
    answer = client.post(INFER, json.dumps({"inputs": [many]}), accept_encoding="deflate, gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(answer.content))["outputs"]) == 3
    plain = client.post(INFER, json.dumps({"inputs": [many]}), accept_encoding="gzip;q=0")
    assert "content-encoding" not in plain.headers
