"""The description of the routes: each of them answers, and each is described."""

import json
import re
from collections.abc import Callable
from typing import Any

Client = Any  # the one of conftest.py


def test_every_route_that_is_described_answers(client: Client, draw: Callable[..., bytes]) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0" and document["info"]["title"] == "tfmnist"
    image = [[0] * 28] * 28
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}
    bodies = {
        "/v1/models/tfmnist:predict": json.dumps({"instances": [image]}),
        "/v2/models/tfmnist/infer": json.dumps({"inputs": [tensor]}),
        "/read": draw(),
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if re.search("unload|classify", path):
                continue
            answer = client.request(method.upper(), path, bodies.get(path, b""))
            assert answer.status_code == 200, path
            kinds = operation["responses"]["200"]["content"]
            assert any(answer.headers["content-type"].startswith(kind) for kind in kinds), path
            for kind, content in kinds.items():
                if kind == "application/json" and content["schema"].get("required"):
                    assert set(content["schema"]["required"]) <= set(answer.json()), path
            assert operation["summary"] and "400" in operation["responses"]


def test_images_have_the_models_size(client: Client) -> None:
    text = json.dumps(client.get("/openapi.json").json()["paths"]["/v1/models/tfmnist:predict"])
    assert '"minItems": 28, "maxItems": 28' in text
