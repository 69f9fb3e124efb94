"""Runs real clients against `tfmnist serve`, each in its own environment, and prints the result of each call.

python experiments/serving/clients.py MODEL [--environments FOLDER]

Every call must pass: the answer is compared with what the package itself predicts.
"""

import argparse
import asyncio
import base64
import importlib
import json
import subprocess
import sys
import tempfile
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "tfmnist"
CLIENTS = {  # packages that each needs
    "tritonclient": ["tritonclient[http]"],
    "kserve": ["kserve"],
    "ovmsclient": ["ovmsclient"],
    "plain": ["numpy"],  # what MLServer's client sends, and curl
}
Calls = dict[str, Callable[[], Any]]


def expect(truth: Any) -> None:
    if not bool(truth):
        raise AssertionError(f"not what was expected: {truth!r}")


class Case:
    """The images to send and the classes to expect."""

    def __init__(self, folder: Path):
        self.numpy: Any = importlib.import_module("numpy")
        self.images = self.numpy.load(folder / "images.npy")
        self.classes = json.loads((folder / "classes.json").read_text())
        self.picture_file = folder / "digit.png"
        self.picture = self.picture_file.read_bytes()
        self.read = json.loads((folder / "read.json").read_text())

    def check(self, classes: Any) -> None:
        expect(self.numpy.asarray(classes).ravel().astype(int).tolist() == self.classes)

    def check_picture(self, classes: Any) -> None:
        expect(int(self.numpy.asarray(classes).ravel()[0]) == self.read)


def tritonclient(url: str, case: Case) -> Calls:
    http: Any = importlib.import_module("tritonclient.http")
    client = http.InferenceServerClient(url.removeprefix("http://"))

    def inputs(binary: bool) -> list[Any]:
        tensor = http.InferInput("images", list(case.images.shape), "UINT8")
        tensor.set_data_from_numpy(case.images, binary_data=binary)
        return [tensor]

    def infer(binary_in: bool = True, binary_out: bool = True, **options: Any) -> None:
        outputs = [http.InferRequestedOutput(name, binary_data=binary_out) for name in ("classes", "probabilities")]
        answer = client.infer(NAME, inputs(binary_in), outputs=outputs, request_id="a1", **options)
        case.check(answer.as_numpy("classes"))
        expect(
            answer.get_response()["id"] == "a1" and answer.as_numpy("probabilities").shape == (len(case.classes), 10)
        )

    def infer_bytes(binary: bool) -> None:
        tensor = http.InferInput("image_bytes", [1], "BYTES")
        content = case.picture if binary else b"text"
        tensor.set_data_from_numpy(case.numpy.array([content], dtype=object), binary_data=binary)
        try:
            answer = client.infer(NAME, [tensor])
        except http.InferenceServerException as error:  # an export of version 0.1 has no status
            expect(not binary and "not a PNG" in str(error))
        else:
            expect(binary or answer.as_numpy("status")[0] == 1)
            if binary:
                case.check_picture(answer.as_numpy("classes"))

    def refused() -> None:
        tensor = http.InferInput("images", [1, 784], "UINT8")
        tensor.set_data_from_numpy(case.numpy.zeros([1, 784], "uint8"))
        try:
            client.infer(NAME, [tensor])
        except Exception as error:
            expect(type(error).__name__ == "InferenceServerException" and "rank 2" in str(error))
        else:
            raise AssertionError("a wrong shape was accepted")

    def unload_and_load() -> None:
        client.unload_model(NAME)
        expect(not client.is_model_ready(NAME))
        client.load_model(NAME)
        expect(client.is_model_ready(NAME))

    return {
        "is_server_live": lambda: expect(client.is_server_live()),
        "is_server_ready": lambda: expect(client.is_server_ready()),
        "is_model_ready": lambda: expect(client.is_model_ready(NAME) and not client.is_model_ready("other")),
        "get_server_metadata": lambda: expect("binary_tensor_data" in client.get_server_metadata()["extensions"]),
        "get_model_metadata": lambda: expect(client.get_model_metadata(NAME, "1")["inputs"][0]["name"] == "images"),
        "get_model_config": lambda: expect(client.get_model_config(NAME)["input"][0]["data_type"] == "TYPE_UINT8"),
        "get_model_repository_index": lambda: expect(client.get_model_repository_index()[0]["state"] == "READY"),
        "get_inference_statistics": lambda: expect(client.get_inference_statistics(NAME)["model_stats"]),
        "get_trace_settings": lambda: expect(client.get_trace_settings(NAME) and client.get_trace_settings()),
        "get_log_settings": lambda: expect(client.get_log_settings()),
        "get_system_shared_memory_status": lambda: expect(client.get_system_shared_memory_status() == []),
        "get_cuda_shared_memory_status": lambda: expect(client.get_cuda_shared_memory_status() == []),
        "unload_model, load_model": unload_and_load,
        "infer, binary": infer,
        "infer, JSON": lambda: infer(False, False),
        "infer, JSON in, binary out": lambda: infer(False, True),
        "infer, gzip": lambda: infer(request_compression_algorithm="gzip", response_compression_algorithm="gzip"),
        "infer, deflate": lambda: infer(
            request_compression_algorithm="deflate", response_compression_algorithm="deflate"
        ),
        "infer, all outputs": lambda: case.check(client.infer(NAME, inputs(True)).as_numpy("classes")),
        "infer, strings": lambda: [infer_bytes(True), infer_bytes(False)],
        "infer, an error": refused,
        "async_infer": lambda: case.check(client.async_infer(NAME, inputs(True)).get_result().as_numpy("classes")),
    }


def kserve(url: str, case: Case) -> Calls:
    package: Any = importlib.import_module("kserve")

    def run(protocol: str, ask: Callable[[Any], Any]) -> Any:
        async def call() -> Any:
            client = package.InferenceRESTClient(package.RESTConfig(protocol=protocol, retries=0))
            try:
                return await ask(client)
            finally:
                await client.close()

        return asyncio.run(call())

    def infer_v1() -> None:
        data = {"instances": case.images.tolist()}
        answer = run("v1", lambda client: client.infer(url, data, model_name=NAME))
        case.check([row["classes"] for row in answer["predictions"]])

    def infer_v2(binary: bool) -> None:
        tensor = package.InferInput("images", list(case.images.shape), "UINT8")
        tensor.set_data_from_numpy(case.images, binary_data=binary)
        outputs = [package.infer_type.RequestedOutput("classes")] if hasattr(package, "infer_type") else None
        if outputs and binary:
            outputs[0].binary_data = True
        request = package.InferRequest(NAME, [tensor], request_id="a1", request_outputs=outputs)
        answer = run("v2", lambda client: client.infer(url, request, model_name=NAME))
        (classes,) = [output for output in answer.outputs if output.name == "classes"]
        case.check(classes.as_numpy())

    return {
        "v1 is_server_live": lambda: expect(run("v1", lambda client: client.is_server_live(url))),
        "v1 is_model_ready": lambda: expect(run("v1", lambda client: client.is_model_ready(url, NAME))),
        "v1 infer": infer_v1,
        "v2 is_server_live": lambda: expect(run("v2", lambda client: client.is_server_live(url))),
        "v2 is_server_ready": lambda: expect(run("v2", lambda client: client.is_server_ready(url))),
        "v2 is_model_ready": lambda: expect(run("v2", lambda client: client.is_model_ready(url, NAME))),
        "v2 infer, JSON": lambda: infer_v2(False),
        "v2 infer, binary": lambda: infer_v2(True),
    }


def ovmsclient(url: str, case: Case) -> Calls:
    package: Any = importlib.import_module("ovmsclient")
    client = package.make_http_client(url.removeprefix("http://"))

    def predict(version: int) -> None:
        case.check(client.predict({"images": case.images}, NAME, version)["classes"])

    def missing() -> None:
        try:
            client.get_model_status("other")
        except Exception as error:
            expect(type(error).__name__ == "ModelNotFoundError")
        else:
            raise AssertionError("a model that is not there has a status")

    return {
        "predict": lambda: predict(0),
        "predict, version 1": lambda: predict(1),
        "get_model_status": lambda: expect(client.get_model_status(NAME)[1]["state"] == "AVAILABLE"),
        "get_model_status, version 1": lambda: expect(client.get_model_status(NAME, 1)[1]["error_code"] == 0),
        "get_model_metadata": lambda: expect(
            client.get_model_metadata(NAME)["inputs"]["images"]["shape"][1:] == [28, 28]
        ),
        "a missing model": missing,
    }


def plain(url: str, case: Case) -> Calls:
    def post(path: str, body: Any) -> Any:
        request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=30))

    def outputs(answer: Any) -> dict[str, Any]:
        return {output["name"]: output["data"] for output in answer["outputs"]}

    def mlserver(content_type: dict[str, str]) -> None:
        tensor = {"name": "images", "shape": list(case.images.shape), "datatype": "UINT8"}
        tensor |= {"data": case.images.ravel().tolist(), "parameters": content_type}
        request = {"id": "a1", "parameters": {"content_type": "np"}, "inputs": [tensor]}
        case.check(outputs(post(f"/v2/models/{NAME}/infer", request))["classes"])

    def mlserver_picture() -> None:
        tensor = {"name": "image_bytes", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
        tensor["data"] = [base64.b64encode(case.picture).decode()]
        case.check_picture(outputs(post(f"/v2/models/{NAME}/versions/1/infer", {"inputs": [tensor]}))["classes"])

    def curl(*words: str) -> Any:
        done = subprocess.run(["curl", "-sS", "--fail-with-body", *words], capture_output=True, check=True)
        return json.loads(done.stdout)

    rows = json.dumps({"instances": case.images.tolist()})
    picture = base64.b64encode(case.picture).decode()
    predict = f"{url}/v1/models/{NAME}:predict"

    def curl_form() -> None:
        case.check([row["classes"] for row in curl("-d", rows, predict)["predictions"]])

    def curl_picture() -> None:
        body = {"signature_name": "image_bytes", "instances": [{"b64": picture}]}
        case.check_picture(curl("-d", json.dumps(body), predict)["predictions"][0]["classes"])

    def curl_classify() -> None:
        signatures = curl(f"{url}/v1/models/{NAME}/metadata")["metadata"]["signature_def"]["signature_def"]
        body = json.dumps({"examples": [{"image/encoded": {"b64": picture}}]})
        target = f"{url}/v1/models/{NAME}:classify"
        if "classify" in signatures:
            case.check_picture(curl("-d", body, target)["results"][0][0][0])
        else:  # an export of version 0.1
            done = subprocess.run(["curl", "-s", "-d", body, target], capture_output=True, check=True)
            expect("not found in signature def" in json.loads(done.stdout)["error"])

    def curl_raw() -> None:
        raw = ["-H", "Inference-Header-Content-Length: 0", "--data-binary", f"@{case.picture_file.with_name('raw')}"]
        case.check(outputs(curl(*raw, f"{url}/v2/models/{NAME}/infer"))["classes"])

    return {
        "MLServer's JSON, numpy": lambda: mlserver({"content_type": "np"}),
        "MLServer's JSON, a picture": mlserver_picture,
        "curl -d, as a form": curl_form,
        "curl -d, a picture in base64": curl_picture,
        "curl -d, classify": curl_classify,
        "curl, raw pixels": curl_raw,
        "curl --data-binary @digit.png /read": lambda: case.check_picture(
            [curl("--data-binary", f"@{case.picture_file}", f"{url}/read")["text"]]
        ),
        "curl /v1/models/NAME": lambda: expect(curl(f"{url}/v1/models/{NAME}")["model_version_status"]),
    }


def run_inside(client: str, url: str, folder: Path) -> None:
    """Runs every call of a client, in its environment, and prints a line of JSON for each."""
    calls: Calls = {"tritonclient": tritonclient, "kserve": kserve, "ovmsclient": ovmsclient, "plain": plain}[client](
        url, Case(folder)
    )
    for name, call in calls.items():
        problem = ""
        try:
            call()
        except Exception as error:
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            traceback.print_exc()
        print(json.dumps([name, problem]), flush=True)


def write_case(model: str, folder: Path) -> None:
    import numpy as np
    from common import test_images
    from PIL import Image

    import tfmnist

    loaded, images = tfmnist.load_exported(model), test_images(5)
    np.save(folder / "images.npy", images)
    (folder / "raw").write_bytes(images.tobytes())
    (folder / "classes.json").write_text(json.dumps(loaded.predict(images).classes.tolist()))
    Image.fromarray(255 - np.kron(images[0], np.ones([8, 8], np.uint8))).save(folder / "digit.png")
    read = loaded.predict_pictures([(folder / "digit.png").read_bytes()])
    (folder / "read.json").write_text(json.dumps(int(read.classes[0])))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--environments", type=Path, help="folder for the environments; a temporary one by default")
    arguments = parser.parse_args()
    from common import environment, served

    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_case(arguments.model, folder)
        environments = (arguments.environments or folder).resolve()
        with served(arguments.model, "--no-access-log", log=folder / "log") as server:
            for client, packages in CLIENTS.items():
                python = environment(environments, client, packages)
                command = [python, __file__, "--inside", client, server.url, folder]
                done = subprocess.run(command, capture_output=True, text=True, timeout=600)
                rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
                if done.returncode or not rows:
                    rows.append(["ends", done.stderr.strip().splitlines()[-1:]])
                for name, problem in rows:
                    print(f"{client:<13} {name:<36} {problem or 'passes'}", flush=True)
                    failures += bool(problem)
    print(f"{failures} calls failed" if failures else "every call passes")
    return int(failures > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        run_inside(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        sys.exit(main())
