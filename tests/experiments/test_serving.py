"""The scripts and manifests about serving: they start, parse and agree with `tfmnist serve`."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfmnist.cli.main import main

FOLDER = Path(__file__).parents[2] / "experiments" / "serving"
ENGINES = FOLDER / "engines"


def manifests() -> dict[str, list[dict[str, Any]]]:
    return {path.name: list(yaml.safe_load_all(path.read_text())) for path in ENGINES.glob("*.yaml")}


@pytest.mark.parametrize("script", ["clients", "swaps", "fuzz", "load"])
def test_scripts_start(script: str) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / f"{script}.py", "--help"], capture_output=True, text=True, check=True
    )
    assert "MODEL" in done.stdout


def test_requests_that_are_made_up_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("fuzz", FOLDER / "fuzz.py")
    assert spec and spec.loader
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    first, second = fuzz.Maker(1), fuzz.Maker(1)
    made = [first.make() for _ in range(60)]
    assert made == [second.make() for _ in range(60)]
    assert len({path for path, _, _ in made}) > 5 and all(isinstance(body, bytes) for _, body, _ in made)


def test_manifests_are_complete() -> None:
    for name, documents in manifests().items():
        for document in documents:
            assert document["apiVersion"] and document["kind"] and document["metadata"]["name"], name
    for name in ("kserve-triton.yaml", "kserve-openvino.yaml"):
        model = manifests()[name][-1]["spec"]["predictor"]["model"]
        assert model["protocolVersion"] == "v2" and model["modelFormat"]["name"] == "onnx"


def test_the_deployment_asks_what_the_service_answers() -> None:
    deployment, service = manifests()["tfmnist-deployment.yaml"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8501}
    assert container["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8501}
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"] == 8501
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 30 + 5  # of --timeout
    assert container["args"] == ["--no-access-log"]


def test_the_images_command_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ENGINES / "Dockerfile").read_text()
    match = re.search(r'ENTRYPOINT \["tfmnist", "serve", (.*)\]', text)
    assert match and ":8501/v2/health/ready" in text and "EXPOSE 8501" in text
    words = [str(tmp_path / "none") if word == "/model" else word for word in re.findall(r'"([^"]*)"', match[1])]
    assert main(["serve", *words, "--port", "0"]) == 2
    assert "does not exist" in capsys.readouterr().err  # the options are right, only the model is missing


def test_tensorflow_servings_files() -> None:
    script = ENGINES / "tensorflow-serving.sh"
    subprocess.run(["sh", "-n", script], check=True)
    assert re.search(r"tensorflow/serving:\d+\.\d+\.\d+ ", script.read_text())  # pinned
    for name in re.findall(r"\$here/(\w+\.txt)", script.read_text()):
        assert (ENGINES / name).is_file()
    values = dict(
        re.findall(r"^(\w+)(?: \{ value)?: (\w+) ?\}?$", (ENGINES / "batching.txt").read_text(), re.MULTILINE)
    )
    assert values["max_batch_size"] == "256" and len(values) == 5
