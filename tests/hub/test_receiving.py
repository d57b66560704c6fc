"""Bytes of a file, counted as they come."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest

from atlas.hub.client import origin
from atlas.hub.receiving import receive


def test_no_more_is_taken_than_is_listed(tmp_path, monkeypatch):
    taken = []

    def endless(size=None):
        for _ in range(100):
            taken.append(1)
            yield b"x" * 10

    answer = SimpleNamespace(status_code=200, iter_bytes=endless, raise_for_status=lambda: None, headers={})
    session = SimpleNamespace(stream=lambda *_, **__: contextlib.nullcontext(answer))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
    monkeypatch.setattr("huggingface_hub.utils.hf_raise_for_status", lambda _: None)
    said = SimpleNamespace(commit_hash="c" * 40, etag="d" * 40)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda *_, **__: said)
    receive("a/b", "c" * 40, "config.yaml", "d" * 40, 25, tmp_path / "file", token=False)
    assert (tmp_path / "file").read_bytes() == b"x" * 25
    assert len(taken) == 3


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hub.example/x", ("https", "hub.example", 443)),
        ("http://hub.example", ("http", "hub.example", 80)),
        ("https://hub.example:8443", ("https", "hub.example", 8443)),
        ("nothing", ("", "", 0)),
    ],
)
def test_an_origin_has_the_port_of_its_scheme(url, expected):
    assert origin(url) == expected
