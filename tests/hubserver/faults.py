"""Fault injection: rules that match requests and make the server misbehave.

A rule is a small dict. Selectors (all optional, all must match):

``kind``         one of KINDS or a list of them; default: every request
``method``       "GET", "PUT", ...
``path``         regular expression searched in the request path (without the query string)
``skip``         let the first N matching requests through
``times``        apply at most N times (default: no limit)
``probability``  apply with this probability (default 1.0)

Action (``action``) and its parameters:

``status``        answer ``status`` (default 503) with optional ``headers`` and ``message``, do not handle the request
``delay``         sleep ``ms`` milliseconds, then handle the request normally
``close``         close the connection before handling the request
``reset``         same with a TCP reset
``kill-upload``   read ``after_bytes`` of the request body, then drop the connection (``how``: close | reset)
``drop-response`` handle the request, then drop the connection instead of answering (``how``: close | reset)
``truncate``      announce the full length, send ``after_bytes`` or ``fraction`` (0.5) of the body, then drop (``how``)
``corrupt``       flip one bit of the response body at ``offset`` (default: the middle)
``stall``         send ``after_bytes``/``fraction`` of the body, then hang ``ms`` before going on
``throttle``      send the body at ``bytes_per_second``
``ignore-range``  answer 200 with the whole file although a Range was asked for
``strip-headers`` remove the response headers listed in ``headers``
``set-headers``   answer with the headers in ``headers``, whatever the server would have said
``endless``       send the body, and then spaces for as long as the client takes them (10 GB at most)
``rewrite``       put ``new`` in place of what the regular expression ``old`` finds in a response body kept in memory
"""

from __future__ import annotations

import random
import re
import threading
from typing import Any

KINDS = ("api", "commit", "lfs-batch", "head", "download", "upload", "cas")

ACTIONS = (
    "status",
    "delay",
    "close",
    "reset",
    "kill-upload",
    "drop-response",
    "truncate",
    "corrupt",
    "stall",
    "throttle",
    "ignore-range",
    "strip-headers",
    "set-headers",
    "endless",
    "rewrite",
)


def classify(method: str, path: str) -> str:
    """The coarse kind of a request, so that rules need not know URLs."""
    if path.startswith("/v1/xorbs/") and method == "POST":
        return "upload"
    if path.startswith("/-/xorbs/"):
        return "download"
    if path.startswith(("/v1/", "/v2/")):
        return "cas"
    if path.startswith("/-/lfs/"):
        return "upload" if method in ("PUT", "POST") else ("head" if method == "HEAD" else "download")
    if path.endswith("/info/lfs/objects/batch"):
        return "lfs-batch"
    if re.search(r"^/api/(models|datasets|spaces)/[^/]+/[^/]+/commit/", path):
        return "commit"
    if "/resolve/" in path:
        return "head" if method == "HEAD" else "download"
    return "api"


class FaultInjector:
    def __init__(self, seed: int | None = None) -> None:
        self._rules: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._next_id = 1
        self._random = random.Random(seed)

    def add(self, **rule: Any) -> int:
        """Add a rule (see the module documentation) and return its id."""
        if rule.get("action") not in ACTIONS:
            raise ValueError(f"unknown action {rule.get('action')!r}; expected one of {', '.join(ACTIONS)}")
        kinds = rule.get("kind")
        for kind in [kinds] if isinstance(kinds, str) else kinds or []:
            if kind not in KINDS:
                raise ValueError(f"unknown kind {kind!r}; expected one of {', '.join(KINDS)}")
        with self._lock:
            rule = {**rule, "id": self._next_id, "matched": 0, "applied": 0}
            self._next_id += 1
            self._rules.append(rule)
            return rule["id"]

    def remove(self, rule_id: int) -> None:
        with self._lock:
            self._rules = [r for r in self._rules if r["id"] != rule_id]

    def clear(self) -> None:
        with self._lock:
            self._rules = []

    def rules(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(r) for r in self._rules]

    def pick(self, method: str, path: str) -> list[dict[str, Any]]:
        """The rules to apply to this request (their counters are advanced)."""
        kind, chosen = classify(method, path), []
        with self._lock:
            for rule in self._rules:
                kinds = rule.get("kind")
                if kinds and kind not in ([kinds] if isinstance(kinds, str) else kinds):
                    continue
                if rule.get("method") and rule["method"].upper() != method:
                    continue
                if rule.get("path") and not re.search(rule["path"], path):
                    continue
                if rule.get("times") is not None and rule["applied"] >= rule["times"]:
                    continue
                rule["matched"] += 1
                if rule["matched"] <= rule.get("skip", 0):
                    continue
                if self._random.random() >= rule.get("probability", 1.0):
                    continue
                rule["applied"] += 1
                chosen.append(dict(rule))
        return chosen
