"""An OpenAI-compatible endpoint: requests that are retried as the server asks, and answers that are not trusted."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from atlas import AtlasError, AtlasWarning
from atlas.authors import in_a_line, note
from atlas_openai.answers import BrokenError, rows_of

URL, KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
DEFAULT = "https://api.openai.com/v1"
# Requests for the same texts, seconds before the second (doubled each time), and the longest wait a server may ask for.
TRIES, PAUSE, LONGEST = 7, 0.5, 600.0
# Seconds without a byte, and for a whole answer.
SILENCE, WHOLE = 120.0, 600.0
# Bytes of an answer for each number it holds, at most.
PER_NUMBER = 64
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# Answers to batches that are too large: these are halved.
TOO_LARGE = {413, 422}


@dataclass
class Answer:
    """The answer of a server: status 0 where nothing came that could be read."""

    status: int
    body: bytes
    wait: float | None = None


@dataclass
class Endpoint:
    """Where vectors are asked for, and the counts of that.

    Attributes:
        url: of the API, such as https://api.openai.com/v1.
        key: sent to this address alone, and never shown; '' for none.
        tokens: that the server has counted so far.
        requests: that were answered with vectors.
    """

    url: str
    key: str = ""
    tokens: int = 0
    requests: int = 0

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"

    @classmethod
    def of_environment(cls, provider: str = "") -> Endpoint:
        """Return the endpoint that the environment names: never a card, which could send the key elsewhere.

        Args:
            provider: who is to serve the model, where it is known.

        Raises:
            AtlasError: no address of an API, or none although another than the usual one is needed.
        """
        url = os.environ.get(URL, "").strip()
        if not url and provider not in ("", urlsplit(DEFAULT).hostname):
            raise AtlasError(f"needs the endpoint of '{provider}' - set {URL}")
        found = cls((url or DEFAULT).rstrip("/"), os.environ.get(KEY, "").strip())
        found._check()
        return found

    def _check(self) -> None:
        if re.match("[^/]*//[^/]*@", self.url):
            raise AtlasError(f"needs an address without a password in {URL} - set {KEY}")
        host = None
        with contextlib.suppress(ValueError):
            host = urlsplit(self.url).hostname
        if not (host and re.fullmatch(r"https?://[!-~]+", self.url)):
            raise AtlasError(f"needs an address such as {DEFAULT} in {URL}, got {in_a_line(self.url, 100)!r}")
        if not (self.key.isascii() and self.key.isprintable()):
            raise AtlasError(f"cannot send the key in {KEY}, which has characters that no key has")
        if self.url.startswith("http:") and self.key and not _is_here(host):
            warnings.warn(f"The key goes to {self.host} unencrypted - use https", AtlasWarning, stacklevel=2)

    @property
    def host(self) -> str:
        """The name of the server."""
        return urlsplit(self.url).hostname or ""

    def vectors(self, texts: Sequence[str], fields: Mapping[str, Any], width: int) -> Iterator[np.ndarray]:
        """Yield the vectors of texts in order, float32, some rows at a time, as they come.

        Args:
            texts: in one request, unless the server finds them too many.
            fields: of the request, beside the texts.
            width: dimensions of a vector, at most.

        Raises:
            AtlasError: the server refuses, does not answer in time, or answers with something else.
        """
        pending = [list(texts)]
        while pending:
            some = pending.pop(0)
            payload = json.dumps({**fields, "input": some, "encoding_format": "float"}).encode()
            made = self._asked(payload, len(some), width)
            if made is None:
                half = len(some) // 2
                pending[:0] = [some[:half], some[half:]]
            else:
                yield made

    def _asked(self, payload: bytes, n: int, width: int) -> np.ndarray | None:
        """Return n vectors, or None where a server says that these are too many at once."""
        reason = ""
        for attempt in range(TRIES):
            answer = self._post(payload, n * width * PER_NUMBER + 2**16)
            if answer.status == 200:
                try:
                    rows, tokens = rows_of(answer.body, n)
                except BrokenError as error:
                    answer, reason = Answer(0, b""), str(error)
                else:
                    self.tokens += tokens if tokens is not None else len(payload) // 4
                    self.requests += 1
                    return rows
            else:
                reason = self._said(answer)
            if answer.status in TOO_LARGE and n > 1:
                return None
            if not self._passing(answer, reason):
                raise AtlasError(f"was refused by {self.host}: {reason}{_advice(answer.status)}")
            if attempt + 1 < TRIES:
                self._pause(answer.wait, attempt)
        raise AtlasError(
            f"got no vectors from {self.host} in {TRIES} tries: {reason} - run it again later; paid vectors are kept"
        )

    def _passing(self, answer: Answer, reason: str) -> bool:
        """Whether a failure may pass: an account without credit does not fill itself."""
        return answer.status in {0, *PASSING} and "insufficient_quota" not in reason

    def _pause(self, asked: float | None, attempt: int) -> None:
        """Wait as long as the server asks, or longer each time."""
        seconds = PAUSE * 2**attempt if asked is None else asked
        if seconds > LONGEST:
            raise AtlasError(
                f"was asked by {self.host} to wait {seconds:,.0f} seconds - run it again then; paid vectors are kept"
            )
        note(f"waiting {seconds:.0f} s, {'as the server asks' if asked is not None else 'before trying again'}")
        time.sleep(seconds)

    def _post(self, payload: bytes, limit: int) -> Answer:
        """Return one answer; a failure without one has status 0 and may pass, unless nothing ever came."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "latent-atlas"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url}/embeddings", payload, headers, method="POST")
        try:
            with _OPENER.open(request, timeout=SILENCE) as response:
                return Answer(response.status, _read(response, limit))
        except urllib.error.HTTPError as error:
            with error:
                body = b""
                with contextlib.suppress(OSError, http.client.HTTPException):
                    body = error.read(20_000)
                return Answer(error.code, body, _wait(error.headers))
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, _LASTING) and not self.requests:
                raise AtlasError(f"cannot reach {self.host}: {in_a_line(cause)} - look at {URL}") from None
            return Answer(0, f"{type(cause).__name__}: {cause}".encode())

    def _said(self, answer: Answer) -> str:
        """Return the reason a server gives, as one line without the key, which some repeat."""
        said: Any = answer.body.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(said)
            error = found.get("error", found) if isinstance(found, dict) else found
            if isinstance(error, dict):
                code = f"{error['code']}: " if isinstance(error.get("code"), str) else ""
                error = f"{code}{error.get('message') or error.get('detail') or error}"
            said = error
        said = str(said).replace(self.key, "***") if self.key else str(said)
        return " ".join(filter(None, [f"status {answer.status}" if answer.status else "", in_a_line(said, 300)]))


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key would go along."""

    def redirect_request(self, *args: Any) -> None:
        """Return no other request, which makes the redirect an error."""


_OPENER = urllib.request.build_opener(_Stays)
# Failures that do not pass while nothing has worked yet: no such host, nobody there, no certificate that holds.
_LASTING = (socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError)


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    """Return a body that ends: below a size, and in time."""
    ends = time.monotonic() + WHOLE
    parts, size = [], 0
    while part := response.read1(2**16):
        parts.append(part)
        size += len(part)
        if size > limit:
            raise AtlasError(f"was sent more than {limit:,} bytes in one answer, which no vectors need - not read on")
        if time.monotonic() > ends:
            raise TimeoutError(f"the answer took more than {WHOLE:.0f} seconds")
    return b"".join(parts)


def _wait(headers: Any) -> float | None:
    """Return how many seconds a server asks to wait, as Retry-After says, a number or a date; None if it does not."""
    said = headers.get("Retry-After", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(said)) if float(said) == float(said) else None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return None


def _advice(status: int) -> str:
    """Return the advice on a refusal."""
    if 300 <= status < 400:
        return f" - the endpoint has moved; set {URL} to its new address"
    return {401: f" - set {KEY}", 403: f" - set {KEY} to one that may", 404: f" - look at the model and {URL}"}.get(
        status, ""
    )


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
