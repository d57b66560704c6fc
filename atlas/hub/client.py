"""The Hub's own client, made patient, bounded in time and in memory, and understandable when it fails."""

from __future__ import annotations

import contextlib
import errno
import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

from atlas.errors import AtlasError, NotFoundError, in_a_line

T = TypeVar("T")

TRIES = 3
PAUSE = 1.0
LONGEST_PAUSE = 60.0
# How long to wait for an answer, in seconds; the client waits for ever for most of them.
WAIT = 60.0
# How many bytes of an answer are read: a page of a listing has a few million at most.
MOST = 32 * 2**20
_TRANSIENT = (408, 409, 429, 500, 502, 503, 504)
# Exceptions of the client for an unexpected answer.
_MALFORMED = (TypeError, AttributeError, LookupError, OverflowError, RecursionError)
_PORTS = {"http": 80, "https": 443}
_TOKEN = re.compile(r"\b(hf|api)_[A-Za-z0-9_-]{3,}|(?<=://)[^/@\s]+(?=@)")


def client(token: str | bool | None = None) -> Any:
    """Return the client, with a token, none (False), or the one you are logged in with (None)."""
    from huggingface_hub import HfApi, constants

    return HfApi(endpoint=constants.ENDPOINT, token=token, library_name="latent-atlas")


def endpoint() -> str:
    """Return the address of the Hub, without any password in it."""
    from huggingface_hub import constants

    return _TOKEN.sub("***", constants.ENDPOINT)


def host() -> str:
    """Return the name of the Hub's host."""
    return urlsplit(endpoint()).netloc or endpoint()


def offline() -> bool:
    """Whether the client has been told to use no network (HF_HUB_OFFLINE=1)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def quiet() -> None:
    """Let the client show no progress, unless HF_HUB_DISABLE_PROGRESS_BARS says whether it does."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()


def clean(text: object, token: str | bool | None = None, limit: int = 300) -> str:
    """Return text of others as one line that can be printed: no token, no control characters, not too long."""
    plain = str(text)
    if isinstance(token, str) and token:
        plain = plain.replace(token, "***")
    return in_a_line(_TOKEN.sub("***", plain), limit)


def patiently(
    call: Callable[[], T],
    what: object,
    token: str | bool | None = None,
    *,
    tries: int | None = None,
    most: int = 0,
    lost: str = "",
) -> T:
    """Return the result of a call of the client; retry passing failures, and explain lasting ones.

    Args:
        call: makes one request, or several.
        what: the reference it is about, the start of the message.
        token: kept out of messages.
        tries: how often to try; None: three times.
        most: how many bytes an answer may have, where it may have more than others.
        lost: advice for a request whose outcome is unknown.

    Raises:
        NotFoundError: the repository, revision or file is not there.
        AtlasError: anything else, in one sentence.
    """
    failures: tuple[type[Exception], ...] = (*_http_errors(), OSError, ValueError, RuntimeError)
    left, pause = TRIES if tries is None else tries, PAUSE
    while True:
        left -= 1
        try:
            with _bounded(max(most, MOST)):
                return call()
        except _MALFORMED as error:
            said = clean(f"{type(error).__name__}: {error}", token, 160)
            raise AtlasError(f"{endpoint()} answers for '{what}' in a form that no Hub has ({said})") from None
        except failures as error:
            wait = _pause(error, pause)
            if left <= 0 or wait is None:
                raise _kind(error)(complaint(error, what, token, lost)) from None
            time.sleep(wait)
            pause *= 2


def _http_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub import errors

    # The second is the base of all errors of the HTTP library, whichever library this version uses.
    return (errors.HfHubHTTPError, errors.HfHubHTTPError.__bases__[0])


def _kind(error: Exception) -> type[AtlasError]:
    from huggingface_hub import errors

    missing = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
    return NotFoundError if isinstance(error, missing) else AtlasError


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _pause(error: Exception, pause: float) -> float | None:
    """Return how many seconds to wait before trying again; None if that would not help."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled) or getattr(error, "errno", None) in _FULL:
        return None
    status = _status(error)
    if status:
        asked = error.response.headers.get("Retry-After", "")  # type: ignore[attr-defined]
        wait = float(asked) if re.fullmatch("[0-9]{1,9}", asked) else pause
        return wait if status in _TRANSIENT and wait <= LONGEST_PAUSE else None
    if isinstance(error, (ConnectionError, TimeoutError, errors.LocalEntryNotFoundError)):
        return pause
    cut_short = isinstance(error, OSError) and error.errno is None
    return pause if isinstance(error, (*_http_errors(), RuntimeError)) or cut_short else None


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def complaint(error: Exception, what: object, token: str | bool | None = None, lost: str = "") -> str:
    """Return the fault and its remedy, in one sentence without secrets.

    Args:
        error: the client's exception.
        what: the reference it is about.
        token: kept out of the sentence.
        lost: advice for a request whose outcome is unknown.
    """
    from huggingface_hub import errors

    page = f"{endpoint()}/{getattr(what, 'repo', '')}".rstrip("/")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"'{what}' cannot be reached: HF_HUB_OFFLINE is set - unset it"
    if isinstance(error, errors.GatedRepoError):
        return f"'{what}' is gated - ask for access at {page}, and log in with 'hf auth login'"
    if isinstance(error, errors.DisabledRepoError):
        return f"'{what}' has been disabled by {host()}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"'{what}': there is no such branch, tag or commit - look at {page}/tree/main"
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"'{what}' does not hold the file that was asked for"
    if status := _status(error):
        return _answer(error, status, what, token, lost)
    if getattr(error, "errno", None) in _FULL:
        return f"'{what}' cannot be stored: {error.strerror} - free some space, or set HF_HOME"  # type: ignore[attr-defined]
    if _pause(error, 0.0) is None:
        return f"'{what}' failed: {clean(error, token)}"
    advice = lost or " - try again; earlier pulls work with HF_HUB_OFFLINE=1"
    return f"'{what}': the connection to {host()} failed ({clean(type(error).__name__)}){advice}"


def _answer(error: Exception, status: int, what: object, token: str | bool | None, lost: str) -> str:
    """Explain an HTTP status."""
    from huggingface_hub import errors, get_token

    said = clean(getattr(error, "server_message", None) or "", token)
    note = f" ({said})" if said else ""
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return (
            f"'{what}': there is no such {getattr(what, 'noun', 'repository')} on {host()}, or it is private - "
            "check the name, or log in with 'hf auth login' or HF_TOKEN"
        )
    if status == 401 and not (token if isinstance(token, str) else token is not False and get_token()):
        return f"'{what}': nobody is logged in to {host()}{note} - log in with 'hf auth login', or set HF_TOKEN"
    if status == 401:
        return f"'{what}': {host()} refuses the token{note} - log in again with 'hf auth login', or set HF_TOKEN"
    if status == 403:
        return f"'{what}': the token does not allow this{note} - use one that may write to it"
    if status == 412:
        return f"'{what}' was changed by somebody else in the meantime - push again to build on their commit"
    if status == 429:
        after = error.response.headers.get("Retry-After")  # type: ignore[attr-defined]
        return f"'{what}': {host()} asks for fewer requests - try again in {clean(after or '60')} seconds"
    if status >= 500:
        return f"'{what}': {host()} has a problem of its own (status {status}){lost or ' - try again later'}"
    return f"'{what}': {host()} refuses the request (status {status}){note}"


@contextlib.contextmanager
def _bounded(most: int) -> Iterator[None]:
    """Let no request of the client wait for ever or take a token elsewhere, and no answer go on without end."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session, hf_raise_for_status

    home = origin(constants.ENDPOINT)

    def bound(request: Any) -> None:
        timeout = request.extensions.setdefault("timeout", {})
        timeout |= {part: WAIT for part in ("connect", "read", "write", "pool") if timeout.get(part) is None}
        # Bytes are counted as they come; a small compressed answer may be a large one.
        request.headers["Accept-Encoding"] = "identity"
        # The next page of a listing, or where to report an upload, may be anywhere.
        if origin(str(request.url)) != home and request.headers.get("Authorization", "").startswith("Bearer "):
            del request.headers["Authorization"]

    def count(response: Any) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise AtlasError(f"{host()} answers compressed, which was not asked for - is there a proxy between?")
        response.stream = _counted(type(response.stream).__mro__[1])(response.stream, most)
        # The client would sleep for as long as it is told to, by either of two headers.
        response.headers.pop("ratelimit", None)
        asked = response.headers.get("Retry-After", "")
        if response.is_error and re.fullmatch("[0-9]+", asked) and float(asked) > LONGEST_PAUSE:
            response.read()
            hf_raise_for_status(response)

    session = get_session()
    _kept(session)
    hooks = session.event_hooks
    hooks["request"].append(bound)
    hooks["response"].append(count)
    try:
        yield
    finally:
        for name, hook in (("request", bound), ("response", count)):
            with contextlib.suppress(ValueError):
                hooks[name].remove(hook)


def _kept(session: Any) -> None:
    """Let a session outlive a connection that is refused: the client would try again in another, without the hooks."""
    send = session.send
    if hasattr(send, "refused"):
        return

    @functools.wraps(send)
    def sent(request: Any, **how: Any) -> Any:
        try:
            return send(request, **how)
        except _http_errors()[1] as error:
            # Other users of the session get the exceptions it has always raised.
            if type(error).__name__ != "ConnectError" or len(session.event_hooks["response"]) == others:
                raise
            raise ConnectionError(str(error)) from None

    others = len(session.event_hooks["response"])
    sent.refused = True  # type: ignore[attr-defined]
    session.send = sent


@functools.cache
def _counted(base: Any) -> Any:
    """Return the class of streams of bytes that end with an error, derived from that of the HTTP library in use."""

    class Counted(base):
        def __init__(self, stream: Any, most: int) -> None:
            self.stream, self.left = stream, most

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self.stream:
                self.left -= len(chunk)
                if self.left < 0:
                    raise AtlasError(f"{host()} answers without end - is it a Hub?")
                yield chunk

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

        def close(self) -> None:
            self.stream.close()

    return Counted


def origin(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port of an address; ('', '', 0) if it is none."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0
