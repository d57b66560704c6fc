"""Threaded HTTP/1.1 plumbing: requests, responses, byte ranges and the misbehaviour of `faults`."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .faults import FaultInjector

BLOCK = 1 << 18


class HttpError(Exception):
    """An error answer, in the shape the Hub client understands."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict | None = None, **body: Any):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers, self.body = headers or {}, {"error": message, **body}


class DropConnectionError(Exception):
    """Give up on the connection without (further) answer."""

    def __init__(self, how: str = "close") -> None:
        super().__init__(how)
        self.how = how


@dataclass(frozen=True)
class FileSlice:
    """A part of a file used as response body."""

    path: Path
    start: int
    length: int


@dataclass
class Response:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""

    @property
    def length(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body.length


def json_response(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    all_headers = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Response(status, all_headers, json.dumps(data).encode())


class Request:
    def __init__(self, handler: Handler, rules: list[dict]) -> None:
        parts = urlsplit(handler.path)
        self.method = handler.command
        self.path = parts.path
        self.query_string = parts.query
        self.segments = [unquote(s) for s in parts.path.split("/")[1:]]
        self.query = parse_qs(parts.query, keep_blank_values=True)
        self.headers = handler.headers
        self.on_storage = handler.server.name == "storage"
        self.base = f"http://{handler.headers.get('Host') or handler.server.netloc}"
        self.rules = rules
        self.user: Any = None
        self.bytes_in = 0
        self._handler = handler
        self._body_done = False

    # ----------------------------------------------------------------- inputs

    def arg(self, name: str, default: str | None = None) -> str | None:
        return self.query[name][0] if name in self.query else default

    def args(self, name: str) -> list[str]:
        return self.query.get(name, []) + self.query.get(f"{name}[]", [])

    def flag(self, name: str) -> bool:
        return (self.arg(name) or "").lower() in ("1", "true")

    def body_chunks(self) -> Iterator[bytes]:
        """The request body as a stream; honours `kill-upload` rules."""
        kill = next((r for r in self.rules if r["action"] == "kill-upload"), None)
        for chunk in self._raw_chunks():
            self.bytes_in += len(chunk)
            if kill is not None and self.bytes_in >= int(kill.get("after_bytes", 0)):
                raise DropConnectionError(kill.get("how", "close"))
            yield chunk
        self._body_done = True

    def _raw_chunks(self) -> Iterator[bytes]:
        rfile = self._handler.rfile
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            while size := int(rfile.readline(64).split(b";")[0].strip() or b"0", 16):
                left = size
                while left:
                    data = rfile.read(min(BLOCK, left))
                    if not data:
                        raise ConnectionError("client went away")
                    left -= len(data)
                    yield data
                rfile.readline()
            while rfile.readline(1024).strip():
                pass  # trailers
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            data = rfile.read(min(BLOCK, left))
            if not data:
                raise ConnectionError("client went away")
            left -= len(data)
            yield data

    def drain(self) -> None:
        """Read what is left of the body, so that the connection stays usable."""
        if not self._body_done:
            for _ in self.body_chunks():
                pass

    def body(self) -> bytes:
        return b"".join(self.body_chunks())

    def json(self) -> Any:
        try:
            return json.loads(self.body() or b"null")
        except ValueError as exc:
            raise HttpError(400, f"Invalid JSON: {exc}") from None

    def form_or_json(self) -> dict[str, Any]:
        if "json" in (self.headers.get("Content-Type") or ""):
            return self.json()
        return parse_qs(self.body().decode(), keep_blank_values=True)

    # ---------------------------------------------------------------- outputs

    def file_response(self, path_or_bytes: Path | bytes, headers: dict[str, str]) -> Response:
        """200/206/416 for a file or bytes, following the Range header."""
        whole = len(path_or_bytes) if isinstance(path_or_bytes, bytes) else path_or_bytes.stat().st_size
        headers = {"Accept-Ranges": "bytes", **headers}
        spec = self.headers.get("Range")
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", (spec or "").strip())
        ignore = any(r["action"] == "ignore-range" for r in self.rules)
        start, end, status = 0, whole - 1, 200
        if match and any(match.groups()) and not ignore:
            first, last = match.groups()
            if first:
                start, end = int(first), min(int(last) if last else whole - 1, whole - 1)
            else:
                start = max(0, whole - int(last))
            if start >= whole or start > end:
                raise HttpError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{whole}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end}/{whole}"
        length = end - start + 1
        if isinstance(path_or_bytes, bytes):
            return Response(status, headers, path_or_bytes[start : start + length])
        return Response(status, headers, FileSlice(path_or_bytes, start, length))


@dataclass
class RequestRecord:
    """One entry of the request log (`GET /-/requests`); status 0 means not answered (yet)."""

    time: float
    listener: str
    method: str
    path: str
    query: str
    status: int = 0
    user: str | None = None
    authorization: bool = False
    range: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Listener

    def _dispatch(self) -> None:
        control = self.path.startswith(("/-/faults", "/-/requests", "/-/health"))
        path = urlsplit(self.path).path
        rules = [] if control else self.server.faults.pick(self.command, path)
        request = Request(self, rules)
        record = RequestRecord(
            time.time(),
            self.server.name,
            self.command,
            path,
            request.query_string,
            authorization="Authorization" in self.headers,
            range=self.headers.get("Range"),
            faults=[r["action"] for r in rules],
        )
        if not control:
            self.server.log.append(record)
        started = time.monotonic()
        try:
            response = self._answer(request)
            record.user = getattr(request.user, "name", None)
            record.bytes_in = request.bytes_in
            record.status = response.status
            request.drain()
            drop = next((r for r in rules if r["action"] == "drop-response"), None)
            if drop:
                raise DropConnectionError(drop.get("how", "close"))
            self._send(request, response, record)
        except DropConnectionError as exc:
            self._drop(exc.how)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            record.bytes_in = request.bytes_in
            record.seconds = round(time.monotonic() - started, 4)
            if self.server.verbose and not control:
                self.server.print_record(record)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _dispatch  # noqa: N815

    def _answer(self, request: Request) -> Response:
        try:
            for rule in request.rules:
                action = rule["action"]
                if action == "delay":
                    time.sleep(float(rule.get("ms", 100)) / 1000)
                elif action in ("close", "reset"):
                    raise DropConnectionError(action)
                elif action == "status":
                    status = int(rule.get("status", 503))
                    raise HttpError(status, rule.get("message", f"injected {status}"), headers=rule.get("headers"))
            return self.server.app(request)
        except HttpError as exc:
            headers = dict(exc.headers)
            if exc.code:
                headers["X-Error-Code"] = exc.code
            headers["X-Error-Message"] = re.sub(r"[\r\n]+", " ", exc.message).encode("ascii", "replace").decode()
            return json_response(exc.body, exc.status, headers)
        except (DropConnectionError, ConnectionError):
            raise
        except Exception as exc:
            sys.stderr.write(f"hubserver: {request.method} {request.path}: {exc!r}\n")
            if self.server.debug:
                import traceback

                traceback.print_exc()
            return json_response({"error": f"Internal Error: {exc!r}"}, 500)

    # ---------------------------------------------------------------- sending

    def _send(self, request: Request, response: Response, record: RequestRecord) -> None:
        headers = dict(response.headers)
        headers.setdefault("X-Request-Id", f"Root=1-{uuid.uuid4().hex[:24]}")
        for rule in request.rules:
            if rule["action"] in ("strip-headers", "set-headers"):
                gone = [name.lower() for name in rule.get("headers", [])]
                headers = {k: v for k, v in headers.items() if k.lower() not in gone}
            if rule["action"] == "set-headers":
                headers.update(rule["headers"])
            if rule["action"] == "rewrite" and isinstance(response.body, bytes):
                response.body = re.sub(rule["old"].encode(), lambda _, new=rule["new"]: new.encode(), response.body)
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name, value)
        endless = any(rule["action"] == "endless" for rule in request.rules)
        if endless:
            self.send_header("Connection", "close")
        elif response.status not in (204, 304):
            self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if self.command != "HEAD":
            for chunk in self._faulty(request.rules, response):
                self.wfile.write(chunk)
                record.bytes_out += len(chunk)
            while endless and record.bytes_out < 10**10:
                record.bytes_out += self.wfile.write(b" " * BLOCK)
        self.wfile.flush()

    def _faulty(self, rules: list[dict], response: Response) -> Iterator[bytes]:
        """The response body, after corrupt/truncate/stall/throttle rules."""
        by_action = {r["action"]: r for r in rules}
        total, sent = response.length, 0

        def limit(rule: dict) -> int:
            default = int(total * float(rule.get("fraction", 0.5)))
            return min(int(rule.get("after_bytes", default)), max(total - 1, 0))

        corrupt, truncate = by_action.get("corrupt"), by_action.get("truncate")
        stall, throttle = by_action.get("stall"), by_action.get("throttle")
        flip = min(int(corrupt.get("offset", total // 2)), total - 1) if corrupt and total else -1
        marks = sorted({limit(r) for r in (truncate, stall) if r})

        def mark_reached() -> None:
            self.wfile.flush()
            if stall and sent == limit(stall):
                time.sleep(float(stall.get("ms", 15000)) / 1000)
            if truncate and sent == limit(truncate):
                raise DropConnectionError(truncate.get("how", "close"))

        if 0 in marks:
            mark_reached()
        for data in _blocks(response.body):
            while data:
                stop = next((m for m in marks if m > sent), total)
                piece, data = data[: stop - sent], data[stop - sent :]
                if sent <= flip < sent + len(piece):
                    damaged = bytearray(piece)
                    damaged[flip - sent] ^= 1
                    piece = bytes(damaged)
                yield piece
                sent += len(piece)
                if throttle:
                    self.wfile.flush()
                    time.sleep(len(piece) / float(throttle.get("bytes_per_second", 1 << 20)))
                if sent in marks:
                    mark_reached()

    def _drop(self, how: str) -> None:
        self.close_connection = True
        if how == "reset":
            self.server.reset_on_close.add(self.connection.fileno())
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *args: Any) -> None:
        pass


def _blocks(body: bytes | FileSlice) -> Iterator[bytes]:
    if isinstance(body, bytes):
        for i in range(0, len(body), BLOCK):
            yield body[i : i + BLOCK]
        return
    with body.path.open("rb") as f:
        f.seek(body.start)
        left = body.length
        while left and (data := f.read(min(BLOCK, left))):
            left -= len(data)
            yield data


class Listener(ThreadingHTTPServer):
    """One listening socket. The Hub API and the file storage use one each, like the real Hub and its CDN."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        app: Callable[[Request], Response],
        faults: FaultInjector,
        log: deque[RequestRecord],
        debug: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(address, Handler)
        self.name, self.app, self.faults, self.debug, self.verbose = name, app, faults, debug, verbose
        self.netloc = f"{address[0]}:{self.server_port}"
        self.reset_on_close: set[int] = set()
        self.log = log
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def print_record(self, record: RequestRecord) -> None:
        extra = f" faults={','.join(record.faults)}" if record.faults else ""
        sys.stderr.write(
            f"[{record.listener}] {record.method} {record.path} -> {record.status}"
            f" in={record.bytes_in} out={record.bytes_out} {record.seconds:.3f}s{extra}\n"
        )

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        if request.fileno() in self.reset_on_close:  # SO_LINGER 0 is set: closing now sends a TCP reset
            self.reset_on_close.discard(request.fileno())
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        gone = isinstance(sys.exc_info()[1], ConnectionError)  # a client that went away is what some tests are about
        if self.debug and not gone:
            super().handle_error(request, client_address)

    def start(self) -> None:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name=f"hub-{self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and cut the open connections."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._open_lock:
            connections, self._open = list(self._open), set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
