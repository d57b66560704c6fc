"""A Hub on localhost for tests: real HTTP and the official client, started when a test first asks for it.

A test module that needs it says `pytest_plugins = ["hub_fixtures"]`. All other tests stay offline. The client reads its
settings once, when it is imported; they are pointed at the server for one test and put back afterwards.
"""

from __future__ import annotations

import functools
import ssl
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hubserver import HubServer
from hubserver.hub import DEFAULT_TOKENS
from hubtools import settings

# Each session of the client reads the certificates of the machine, which no test asks for.
context = functools.cache(ssl.create_default_context)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    tokens = {**DEFAULT_TOKENS, "hf_you_write": {"user": "you"}}
    # Pages of two, so that a listing has several.
    with HubServer(tmp_path_factory.mktemp("hub") / "data", page_size=2, debug=True, tokens=tokens) as running:
        yield running


@pytest.fixture
def hub(request, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The server, without faults and with an empty log; the client of this process talks to it, with a fresh cache.

    `parametrize("hub", ["http", "xet"], indirect=True)` runs a test over both ways of moving files.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import _http, close_session, disable_progress_bars, enable_progress_bars

    import atlas.hub.client

    for name, value in settings(server, tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", getattr(request, "param", "http") == "http")
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    monkeypatch.setattr(atlas.hub.client, "PAUSE", 0.05)
    monkeypatch.setattr(ssl, "create_default_context", context)
    # The client waits a second and more before it tries again.
    monkeypatch.setattr(_http, "time", SimpleNamespace(**{**vars(time), "sleep": lambda s: time.sleep(s / 20)}))
    disable_progress_bars()
    close_session()
    server.faults.clear()
    server.clear_requests()
    yield server
    server.faults.clear()
    close_session()
    enable_progress_bars()


@pytest.fixture
def repo() -> str:
    """The name of a repository that does not exist yet."""
    return f"tester/a-{uuid.uuid4().hex[:8]}"
