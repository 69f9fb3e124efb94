"""What the tests of the service share: a small exported model, untrained, and a client in this process."""

import asyncio
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image, ImageDraw
from starlette.types import ASGIApp, Message

import tfmnist
from tfmnist.serving.app import make_app
from tfmnist.serving.models import ServedModel
from tfmnist.serving.service import Limits, Service


@dataclass(frozen=True)
class Answer:
    """An answer of the application."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Client:
    """Calls an application in this process, as a server does: one request at a time, of one part, or `parts`."""

    def __init__(self, app: ASGIApp):
        self.app = app

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def post(self, path: str, content: bytes | str = b"", **headers: str) -> Answer:
        return self.request("POST", path, content, **headers)

    def request(self, method: str, path: str, content: bytes | str = b"", **headers: str) -> Answer:
        body = content.encode() if isinstance(content, str) else content
        return asyncio.run(self.ask(method, path, [body], **headers))

    async def ask(self, method: str, path: str, parts: list[bytes], **headers: str) -> Answer:
        raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http", "method": method, "path": unquote(path), "raw_path": path.encode(), "query_string": b"",
            "headers": raw, "client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http", "root_path": "",
        }  # fmt: skip
        waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        waiting[-1]["more_body"] = False
        sent: list[Message] = []

        async def receive() -> Message:
            if waiting:
                return waiting.pop(0)
            await asyncio.sleep(3600)
            raise AssertionError("nobody waits so long")

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, body)


MakeClient = Callable[..., Client]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with version 1; it is not changed."""
    folder = tmp_path_factory.mktemp("served") / "model"
    tfmnist.export(tfmnist.MLP((28, 28), [8], 10, seed=1), folder)
    return folder


@pytest.fixture
def model_folder(exported: Path, tmp_path: Path) -> Path:
    """A model folder of the test's own, with version 1."""
    return Path(shutil.copytree(exported, tmp_path / "model"))


@pytest.fixture(scope="session")
def served(exported: Path) -> ServedModel:
    return ServedModel(exported, "tfmnist")


@pytest.fixture
def make_client(served: ServedModel) -> Iterator[MakeClient]:
    """Makes clients of a service in this process, with the arguments of `Limits`, or a model, token and so on."""
    services: list[Service] = []

    def make(
        model: ServedModel | None = None, token: str = "", page: Path | None = None, origins: Any = (), **limits: Any
    ) -> Client:
        service = Service(model or served, Limits(**limits), token=token)
        services.append(service)
        app = make_app(service, origins=origins, **({"page": page} if page else {}))
        return Client(app)

    yield make
    for service in services:
        service.batcher.close()


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client()


@pytest.fixture(scope="session")
def expected(exported: Path) -> tfmnist.Exported:
    """The model as the package itself loads it."""
    return tfmnist.load_exported(exported)


@pytest.fixture(scope="session")
def draw() -> Callable[..., bytes]:
    """Draws upright strokes, each a 1, as a picture file."""

    def make(strokes: int = 1, kind: str = "PNG", side: int = 280) -> bytes:
        picture = Image.new("L", (side, side), 255)
        for n in range(strokes):
            x = side * (n + 1) // (strokes + 1)
            ImageDraw.Draw(picture).line([(x, side // 4), (x + 4, 3 * side // 4)], fill=0, width=side // 24)
        file = io.BytesIO()
        picture.save(file, kind)
        return file.getvalue()

    return make
