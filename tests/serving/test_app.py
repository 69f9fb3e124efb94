"""The web application: pages, headers, tokens, other sites, the log and the metrics."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfmnist.serving.app import PAGE
from tfmnist.serving.models import ServedModel

PREDICT = "/v1/models/tfmnist:predict"
ROWS = json.dumps({"instances": [[[0] * 28] * 28]})
Client = Any  # the one of conftest.py
MakeClient = Callable[..., Client]


def test_the_page_is_for_people_and_json_for_programs(make_client: MakeClient, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>draw")
    (tmp_path / "page.css").write_text("p {}")
    (tmp_path / "page.js").write_text("1")
    client = make_client(page=tmp_path)
    page = client.get("/", accept="text/html,*/*;q=0.8")
    assert page.text == "<p>draw" and page.headers["content-type"].startswith("text/html")
    assert client.get("/").json() == client.get("/", accept="application/json").json() == {"status": "alive"}
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        file = client.get(f"/page/{name}")
        assert file.status_code == 200 and file.headers["content-type"].startswith(kind)
        assert file.headers["cache-control"] == "no-cache"
        assert client.get(f"/page/{name}", if_none_match=file.headers["etag"]).status_code == 304
    for path in ("/page/nothing", "/page/../service.py", "/page/%2e%2e/service.py", "/page//etc/passwd", "/page/"):
        assert client.get(path).status_code == 404 and "error" in client.get(path).json()


def test_the_description_has_a_page_of_its_own(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and "/page/docs.js" in page.text and "://" not in page.text
    for name in ("docs.css", "docs.js"):
        file = client.get(f"/page/{name}")
        assert file.status_code == 200 and "http" not in file.text and "innerHTML" not in file.text
    assert "/read" in client.get("/openapi.json").json()["paths"]
    assert (PAGE / "docs.html").is_file()


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/page/docs.css", "/v2", "/nothing", "/v1/x", "/read", "/metrics", "/page/x"]
)
def test_every_answer_has_strict_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY" and "server" not in headers
    assert headers["cache-control"] == ("no-cache" if path.startswith("/page/") else "no-store")


def test_unknown_paths_and_methods_get_json(client: Client) -> None:
    answer = client.get("/nothing")
    assert answer.status_code == 404 and answer.json()["error"] == "not found: GET /nothing"
    answer = client.request("DELETE", "/read")
    assert answer.status_code == 405 and "DELETE /read" in answer.json()["error"]
    assert client.request("BREW", "/v1/models/tfmnist").status_code == 400


def test_a_bug_is_logged_and_hidden(make_client: MakeClient, exported: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = ServedModel(exported, "tfmnist")
    client = make_client(model)
    assert model.current
    model.current.signatures = None  # type: ignore[assignment]
    answer = client.post(PREDICT, ROWS)
    assert answer.status_code == 500 and answer.json() == {"error": "internal error; the server's log has the details"}
    assert "a bug in POST" in caplog.text and "Traceback" in caplog.text


def test_a_token_guards_all_but_health_and_pages(make_client: MakeClient) -> None:
    client = make_client(token="se-cret")
    for path in ("/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready", "/page/docs.css"):
        assert client.get(path).status_code == 200
    for path in ("/metrics", "/v2", "/v1/models", "/v1/models/tfmnist", "/nothing", "/V2/health/live/x"):
        answer = client.get(path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer" and "error" in answer.json()
    assert client.post("/read", b"").status_code == client.post(PREDICT, ROWS).status_code == 401
    assert client.post(PREDICT, ROWS, authorization="Bearer se-cret").status_code == 200
    assert client.get("/openapi.json").json()["security"] == [{"token": []}]


def test_pages_of_other_sites(make_client: MakeClient) -> None:
    other = {"origin": "https://other.example", "sec_fetch_site": "cross-site"}
    client = make_client()
    answer = client.post("/v2/repository/models/tfmnist/unload", **other)
    assert answer.status_code == 403 and "--allow-origin" in answer.json()["error"]
    assert client.post(PREDICT, ROWS, origin="http://127.0.0.1:8501", sec_fetch_site="same-origin").status_code == 200
    assert "access-control-allow-origin" not in client.post(PREDICT, ROWS).headers
    client = make_client(origins=["https://other.example"])
    answer = client.post(PREDICT, ROWS, **other)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://other.example"
    ask = {"access_control_request_method": "POST", "access_control_request_headers": "authorization"}
    assert client.request("OPTIONS", PREDICT, **other, **ask).status_code == 200
    answer = client.post(PREDICT, ROWS, origin="https://third.example", sec_fetch_site="cross-site")
    assert answer.status_code == 403
    assert make_client(origins=["*"]).post(PREDICT, ROWS, **other).status_code == 200


def test_the_access_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tfmnist.serving.access")
    client.post(PREDICT, ROWS)
    client.get("/evil\r\nline\x1b[2J")
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"127.0.0.1 POST {PREDICT} 200 ") and first.endswith(" ms")
    assert "\n" not in second and "\x1b" not in second


def test_metrics(client: Client) -> None:
    for _ in range(3):
        client.post(PREDICT, ROWS)
    client.post(PREDICT, "{")
    client.get("/nothing")
    client.get("/v1/models/other")
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith("text/plain")
        lines = answer.text.splitlines()
        for line in (
            'tfmnist_requests_total{code="200",route="/v1/models/NAME:predict"} 3.0',
            'tfmnist_requests_total{code="400",route="/v1/models/NAME:predict"} 1.0',
            'tfmnist_requests_total{code="404",route="other"} 1.0',
            'tfmnist_request_seconds_count{route="/v1/models/NAME:predict"} 4.0',
            "tfmnist_batch_rows_sum 3.0",
            "tfmnist_queue_length 0.0",
            "tfmnist_model_version 1.0",
        ):
            assert line in lines
    assert "openmetrics" in client.get("/metrics", accept="application/openmetrics-text").headers["content-type"]


def test_while_it_stops_connections_are_closed(make_client: MakeClient) -> None:
    client = make_client()
    client.app._service.is_stopping = True
    answer = client.get("/v2/health/ready")
    assert answer.status_code == 503 and answer.json() == {"ready": False} and answer.headers["connection"] == "close"
    assert client.get("/v2/models/tfmnist/ready").status_code == 503
    assert client.get("/v2/health/live").status_code == 200 and client.post(PREDICT, ROWS).status_code == 200
