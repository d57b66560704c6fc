"""Wiring: one Hub, two listeners (API and file storage), fault injection and a request log."""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Any

from . import api_collections, api_files, api_pulls, api_repos, api_transfer  # noqa: F401 - they register routes
from .faults import FaultInjector
from .httpd import HttpError, Listener, Request, RequestRecord, Response, json_response
from .hub import Config, Hub
from .routing import HubApp


class HubServer:
    """A Hub running in background threads.

    >>> with HubServer("hub-data") as server:          # doctest: +SKIP
    ...     HfApi(endpoint=server.url, token="hf_test_write").create_repo("demo")
    """

    def __init__(self, data_dir: str | Path, **options: Any) -> None:
        self.config = Config(data_dir=Path(data_dir), **options)
        self.hub = Hub(self.config)
        self.faults = FaultInjector(self.config.seed)
        self._log: deque[RequestRecord] = deque(maxlen=20_000)
        self._app = HubApp(self.hub)
        self._listeners: list[Listener] = []

    # --------------------------------------------------------------- lifecycle

    def start(self) -> HubServer:
        common = (self._handle, self.faults, self._log, self.config.debug, self.config.verbose)
        storage = Listener("storage", (self.config.host, self.config.storage_port), *common)
        self.hub.storage_netloc = storage.netloc
        try:
            api = Listener("hub", (self.config.host, self.config.port), *common)
        except OSError:
            storage.server_close()
            raise
        self._listeners = [api, storage]
        for listener in self._listeners:
            listener.start()
        return self

    def stop(self) -> None:
        for listener in self._listeners:
            listener.stop()
        self._listeners = []

    def __enter__(self) -> HubServer:
        return self if self._listeners else self.start()

    def __exit__(self, *exc: Any) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What to put in HF_ENDPOINT."""
        return f"http://{self._listeners[0].netloc}"

    @property
    def storage_url(self) -> str:
        return f"http://{self._listeners[1].netloc}"

    # ------------------------------------------------------------------ control

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests served so far, oldest first."""
        return list(self._log)

    def clear_requests(self) -> None:
        self._log.clear()

    def _handle(self, request: Request) -> Response:
        if request.path == "/-/faults":
            return self._faults_endpoint(request)
        if request.path == "/-/requests":
            if request.method == "DELETE":
                self.clear_requests()
                return json_response({"success": True})
            return json_response([dataclasses.asdict(r) for r in self.requests])
        return self._app(request)

    def _faults_endpoint(self, request: Request) -> Response:
        if request.method == "POST":
            payload = request.json()
            try:
                ids = [self.faults.add(**rule) for rule in (payload if isinstance(payload, list) else [payload])]
            except (TypeError, ValueError) as exc:
                raise HttpError(400, f"Bad rule: {exc}") from None
            return json_response({"ids": ids})
        if request.method == "DELETE":
            rule_id: str | None = request.arg("id")
            if rule_id:
                self.faults.remove(int(rule_id))
            else:
                self.faults.clear()
            return json_response({"success": True})
        return json_response(self.faults.rules())
