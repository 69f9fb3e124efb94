"""TensorFlow Serving's REST interface, item by item as its clients rely on it."""

import base64
import gzip
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfmnist
from tfmnist.serving.models import ServedModel
from tfmnist.serving.tensors import STRING, Array, Spec

PREDICT = "/v1/models/tfmnist:predict"
IMAGES = np.random.default_rng(3).integers(0, 256, (5, 28, 28)).astype(np.uint8)
Client = Any  # the one of conftest.py
MakeClient = Callable[..., Client]


class Function:
    """A signature made of a Python function, with inputs and outputs that no exported model has."""

    def __init__(self, inputs: list[Spec], outputs: list[Spec], function: Callable[..., dict[str, Array]]):
        self.name, self.batches, self.function = "odd", False, function
        self.inputs, self.outputs = {spec.name: spec for spec in inputs}, {spec.name: spec for spec in outputs}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self.function(**inputs)


@pytest.fixture
def add_signature(exported: Path, make_client: MakeClient) -> Callable[..., Client]:
    """Gives a client of a model that has another signature, `odd`."""

    def add(inputs: list[Spec], outputs: list[Spec], function: Callable[..., dict[str, Array]]) -> Client:
        model = ServedModel(exported, "tfmnist")
        assert model.current
        signatures: dict[str, Any] = model.current.signatures
        signatures["odd"] = Function(inputs, outputs, function)
        return make_client(model)

    return add


def ask(client: Client, payload: Any, path: str = PREDICT, **headers: str) -> tuple[int, Any]:
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    response = client.post(path, content, **headers)
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()


def refuse(client: Client, payload: Any, words: str, code: int = 400) -> None:
    got, answer = ask(client, payload)
    assert got == code and re.search(words, answer["error"]), answer
    assert "\n" not in answer["error"]


def test_rows(client: Client, expected: tfmnist.Exported) -> None:
    wanted = expected.predict(IMAGES)
    for rows in (IMAGES.tolist(), [{"images": image} for image in IMAGES.tolist()]):
        code, answer = ask(client, {"instances": rows})
        assert code == 200 and list(answer) == ["predictions"] and len(answer["predictions"]) == 5
        assert [row["classes"] for row in answer["predictions"]] == wanted.classes.tolist()
        for name in ("probabilities", "logits"):
            values = np.array([row[name] for row in answer["predictions"]], np.float32)
            np.testing.assert_array_equal(values, getattr(wanted, name))


def test_columns(client: Client, expected: tfmnist.Exported) -> None:
    wanted = expected.predict(IMAGES)
    for columns in (IMAGES.tolist(), {"images": IMAGES.tolist(), "further": 1}):
        code, answer = ask(client, {"inputs": columns})
        assert code == 200 and answer["outputs"]["classes"] == wanted.classes.tolist()
        np.testing.assert_array_equal(np.array(answer["outputs"]["logits"], np.float32), wanted.logits)
    refuse(client, {"inputs": IMAGES[0].tolist()}, "images has rank 2")  # no dimension is added
    refuse(client, {"inputs": {"image": []}}, "'inputs' lacks images")


def test_routes_are_matched_in_any_case_and_versions_by_number(client: Client) -> None:
    rows = {"instances": IMAGES.tolist()}
    for path in ("/V1/Models/tfmnist:PREDICT", "/v1/models/tfmnist/versions/1:predict", "/v1/models/%74fmnist:predict"):
        assert ask(client, rows, path)[0] == 200
    assert ask(client, rows, "/v1/models/tfmnist/versions/0:predict")[0] == 200  # ovmsclient's newest
    code, answer = ask(client, rows, f"/v1/models/tfmnist/versions/{1 << 63}:predict")
    assert code == 400 and "9223372036854775808" in answer["error"]
    code, answer = ask(client, rows, f"/v1/models/tfmnist/versions/{'9' * 5000}:predict")
    assert code == 400 and len(answer["error"]) < 100
    for path, wanted in (
        ("/v1/models/other:predict", "Latest(other)"),
        ("/v1/models/tfmnist/versions/7:predict", "Specific(tfmnist, 7)"),
        ("/v1/models/tfmnist/labels/stable:predict", "Label(tfmnist, stable)"),
    ):
        code, answer = ask(client, rows, path)
        assert (code, answer["error"]) == (404, f"Servable not found for request: {wanted}")
    assert client.get("/v1/models/tfmnist/versions/7").status_code == 404
    assert client.get("/v1/models/tfmnist/labels/stable/metadata").status_code == 404
    assert client.get("/v1/models/tfmnist/versions/0").json()["model_version_status"][0]["version"] == "1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),
        ("GET", "/v1"),
        ("POST", "/v1/models/tfmnist"),
        ("GET", PREDICT),
        ("DELETE", PREDICT),
        ("POST", "/v1/models/tfmnist:explain"),
        ("POST", "/v1/models/tfmnist/versions/one:predict"),
        ("POST", "/v1/models/tfmnist/metadata"),
        ("POST", "/v1/models"),
    ],
)
def test_what_is_no_route_is_a_malformed_request(client: Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 400 and answer.json()["error"] == f"Malformed request: {method} {path}"
    assert "POST /v1/models/tfmnist[/versions/N]:predict" in answer.json()["hint"]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", "nonsense"])
def test_the_content_type_does_not_matter(client: Client, kind: str) -> None:
    assert ask(client, {"instances": IMAGES.tolist()}, content_type=kind)[0] == 200


def test_json_as_tensorflow_serving_reads_it(client: Client, expected: tfmnist.Exported) -> None:
    body = json.dumps({"instances": IMAGES.tolist()}).encode()
    plain = ask(client, body)
    assert plain[0] == 200
    assert ask(client, body + b" trailing text") == plain
    assert ask(client, gzip.compress(body), content_encoding="gzip") == plain
    for body, words in (
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b"\xff{}", "not UTF-8"),
        (b"[1]", "expected a JSON object"),
        (b'{"instances": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "JSON Parse error|not of expected type"),
    ):
        refuse(client, body, words)
    refuse(client, {"instances": [0], "nested": json.loads("[" * 900 + "]" * 900)}, "images has rank 1")


def test_numbers_that_are_not_finite(add_signature: Callable[..., Client]) -> None:
    number = Spec("x", np.dtype(np.float32), (None,))
    client = add_signature([number], [number], lambda x: {"x": x, "y": -x})
    response = client.post(PREDICT, '{"signature_name": "odd", "inputs": [NaN, Infinity, -Infinity, 0.5]}')
    assert response.text == '{"outputs":{"x":[NaN,Infinity,-Infinity,0.5],"y":[NaN,-Infinity,Infinity,-0.5]}}'
    response = client.post(PREDICT, '{"signature_name": "odd", "instances": [NaN]}')
    assert response.text == '{"predictions":[{"x":NaN,"y":NaN}]}'


def test_signature_names(client: Client) -> None:
    rows = {"instances": (IMAGES / 255).tolist()}
    assert ask(client, {**rows, "signature_name": "float_images"})[0] == 200
    assert ask(client, {"instances": IMAGES.tolist(), "signature_name": ""})[0] == 200
    code, answer = ask(client, {**rows, "signature_name": "x"})
    assert (code, answer["error"]) == (400, 'Serving signature name: "x" not found in signature def')
    assert "float_images" in answer["hint"]
    for name in (3, None, ["serving_default"]):
        refuse(client, {**rows, "signature_name": name}, "'signature_name' key must be a string value")


def test_what_the_rows_must_be(client: Client) -> None:
    image = IMAGES[0].tolist()
    refuse(client, {}, "got neither")
    refuse(client, {"instances": [image], "inputs": [image]}, "got both")
    for value in ([], {}, "text", None, 3):
        refuse(client, {"instances": value}, "'instances' is .*: expected a list of at least one row")
    refuse(client, {"instances": [image, {"images": image}]}, "mixes objects and plain values, such as row 0")
    refuse(
        client, {"instances": [{"images": image, "more": 1}]}, "row 0 .* has 'images', 'more': expected exactly images"
    )
    refuse(client, {"instances": [{"image": image}]}, "row 0 of 'instances' has 'image'")
    refuse(client, {"instances": [image, image[:-1]]}, "lists of 27 and of 28 elements at level 1")
    refuse(client, {"instances": [image, [*image[:-1], 3]]}, "lists beside other values at level 2")
    refuse(client, {"instances": [image[:-1]]}, r"27 elements at level 1: expected \[-1, 28, 28\]")
    refuse(client, {"instances": image}, "images has rank 2")
    refuse(client, {"instances": [[image]]}, "images has rank 4")


@pytest.mark.parametrize(
    ("pixel", "words"),
    [
        (255.0, "JSON Value: 255.0 Type: Number is not of expected type: uint8"),
        (0.5, "JSON Value: 0.5 Type: Number is not of expected type: uint8"),
        (True, "JSON Value: true Type: Bool is not of expected type: uint8"),
        (None, "Type: Null is not of expected type: uint8"),
        ("7", "Type: String is not of expected type: uint8"),
        ({"b64": "AA=="}, "Type: Object is not of expected type: uint8"),
        (256, "256 is out of range for uint8: expected 0 to 255"),
        (-1, "-1 is out of range for uint8"),
        (10**30, "not of expected type|out of range"),
    ],
)
def test_integers_are_integers_in_their_range(client: Client, pixel: Any, words: str) -> None:
    image = IMAGES[0].tolist()
    image[3][4] = pixel
    refuse(client, {"instances": [image]}, words)
    refuse(client, {"inputs": [image]}, words)


def test_floats_take_any_number(client: Client) -> None:
    image: Any = (IMAGES[0] / 255).tolist()
    image[0][:3] = 0, 1, 1e-50
    assert ask(client, {"signature_name": "float_images", "instances": [image]})[0] == 200
    for wrong, words in ((1e39, "out of range for float32"), (10**400, "out of range|JSON"), (False, "Type: Bool")):
        image[0][0] = wrong
        refuse(client, {"signature_name": "float_images", "instances": [image]}, words)


def test_pictures_in_base64(client: Client, draw: Callable[..., bytes], expected: tfmnist.Exported) -> None:
    files = [draw(), draw(2), b"no picture \xfb\xff", b""]
    wanted = expected.predict_pictures(files)
    texts = [base64.b64encode(data).decode() for data in files]
    for rows in ([{"b64": text} for text in texts], [{"image_bytes": {"b64": text.rstrip("=")}} for text in texts]):
        code, answer = ask(client, {"signature_name": "image_bytes", "instances": rows})
        assert code == 200
        assert [row["status"] for row in answer["predictions"]] == wanted.status.tolist()
        assert answer["predictions"][0]["normalized"] == wanted.normalized[0].tolist()
    assert ask(client, {"signature_name": "image_bytes", "inputs": ["text"]})[0] == 200
    refuse(client, {"signature_name": "image_bytes", "inputs": {"b64": texts[0]}}, "image_bytes has rank 0")
    web_safe = base64.urlsafe_b64encode(files[2]).decode()
    for wrong in (web_safe, "AAA\nA", "A", "ä", 3, None):
        refuse(client, {"signature_name": "image_bytes", "instances": [{"b64": wrong}]}, "base64|not of expected type")
    refuse(client, {"signature_name": "image_bytes", "instances": [{"b64": "", "x": 1}]}, "row 0 .* has 'b64', 'x'")
    refuse(client, {"signature_name": "image_bytes", "instances": [7]}, "Type: Number is not of expected type: string")


def test_one_output_is_bare_and_binary_by_its_suffix(add_signature: Callable[..., Client]) -> None:
    text = Spec("text", STRING, (None,))
    client = add_signature([text], [text], lambda text: {"text": text})
    query = {"signature_name": "odd"}
    assert ask(client, {**query, "instances": ["é", {"b64": "eA"}]}) == (200, {"predictions": ["é", "x"]})
    assert ask(client, {**query, "inputs": ["é"]}) == (200, {"outputs": ["é"]})
    client = add_signature([text], [text], lambda text: {"raw_bytes": text, "same": text})
    assert ask(client, {**query, "instances": ["x"]}) == (
        200,
        {"predictions": [{"raw_bytes": {"b64": "eA=="}, "same": "x"}]},
    )


def test_whole_floats_keep_their_point_and_rows_need_one_output_each(add_signature: Callable[..., Client]) -> None:
    numbers = [Spec("x", np.dtype(np.float32), (None,)), Spec("y", np.dtype(np.int64), (None,))]
    client = add_signature(numbers, numbers, lambda x, y: {"x": x, "y": y})
    query = {"signature_name": "odd"}
    response = client.post(PREDICT, json.dumps({**query, "instances": [{"x": 1, "y": 2}, {"y": 3, "x": 0.1}]}))
    assert response.text == '{"predictions":[{"x":1.0,"y":2},{"x":0.1,"y":3}]}'
    refuse(client, {**query, "instances": [1]}, "'instances' has plain values: expected objects with the inputs x, y")
    refuse(client, {**query, "inputs": [1]}, "'inputs' is a list of 1: expected an object with x, y")
    refuse(client, {**query, "inputs": {"x": [1]}}, "'inputs' lacks y")
    client = add_signature(numbers[:1], numbers[:1], lambda x: {"sum": x.sum(), "x": x})
    refuse(client, {**query, "instances": [1, 2]}, r"the output sum has shape \[\]: expected 2")
    assert ask(client, {**query, "inputs": [1, 2]}) == (200, {"outputs": {"sum": 3.0, "x": [1.0, 2.0]}})


def test_status_and_metadata(client: Client) -> None:
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/tfmnist", "/v1/models/tfmnist/versions/1"):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.json()["model_version_status"] == [status]
        assert answer.json()["ready"] is True and answer.json()["name"] == "tfmnist"  # KServe's
    assert client.get("/v1/models").json() == {"models": ["tfmnist"]}
    metadata = client.get("/v1/models/tfmnist/metadata").json()
    assert metadata["model_spec"] == {"name": "tfmnist", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict" and signature["defaults"] == {}
    images = signature["inputs"]["images"]
    assert images["dtype"] == "DT_UINT8" and images["name"].endswith(":0")
    sizes = [{"size": size, "name": ""} for size in ("-1", "28", "28")]
    assert images["tensor_shape"] == {"dim": sizes, "unknown_rank": False}
    assert set(signature["outputs"]) == {"classes", "probabilities", "logits"}
    assert client.get("/v1/models/tfmnist/versions/1/metadata").json() == metadata


def test_classify_and_regress(client: Client, add_signature: Callable[..., Client], draw: Callable[..., bytes]) -> None:
    import tensorflow as tf

    picture = base64.b64encode(draw()).decode()
    examples = {"examples": [{"image/encoded": {"b64": picture}, "n": 3, "x": [1, 0.5]}, {"image/encoded": "text"}]}
    code, answer = ask(client, examples, "/v1/models/tfmnist:regress")
    assert code == 400 and "regression signature" in answer["error"]

    def classify(inputs: Array) -> dict[str, Array]:
        parsed = [tf.train.Example.FromString(data).features.feature for data in inputs]
        assert parsed[0]["image/encoded"].bytes_list.value[0] == draw() and parsed[1]["n"].int64_list.value == [4]
        assert parsed[0]["n"].int64_list.value == [3] and parsed[0]["x"].float_list.value == [1, 0.5]
        names = np.array([[b"7", b"1"], [b"2", b"3"]], STRING)
        return {"classes": names, "scores": np.array([[0.75, 0.25], [1, 0]], np.float32)}

    outputs = [Spec("classes", STRING, (None, 2)), Spec("scores", np.dtype(np.float32), (None, 2))]
    client = add_signature([Spec("inputs", STRING, (None,))], outputs, classify)
    path, query = "/v1/models/tfmnist:classify", {"signature_name": "odd"}
    code, answer = ask(client, {**query, **examples, "context": {"n": 4}}, path)
    assert (code, answer) == (200, {"results": [[["7", 0.75], ["1", 0.25]], [["2", 1.0], ["3", 0.0]]]})
    for wrong, words in (
        ([], "'examples' is a list of 0"),
        (None, "'examples' is null"),
        ([3], "example 0 is 3: expected an object"),
        ([{"x": [1, "a"]}], "example 0, x"),
        ([{"x": {"b64": "-_"}}], "example 0, x: invalid base64"),
        ([{"x": True}], "Type: Bool"),
        ([{"x": 1 << 63}], "example 0 has an integer of more than 64 bits"),
    ):
        code, answer = ask(client, {**query, "examples": wrong}, path)
        assert code == 400 and re.search(words, answer["error"]), answer
    code, answer = ask(client, {"signature_name": "image_bytes", **examples}, path)
    assert code == 400 and "does not classify" in answer["error"]
    code, answer = ask(client, {"signature_name": "nothing", **examples}, path)
    assert code == 400 and '"nothing" not found' in answer["error"]
