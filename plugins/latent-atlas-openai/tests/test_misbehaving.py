"""Servers that are slow, busy, broken or hostile: waited for as they ask, and never believed."""

from __future__ import annotations

import email.utils
import time
from contextlib import suppress

import pytest
import torch
from conftest import answer, said, vector

from atlas import AtlasError, AtlasWarning
from atlas_openai import OpenAI

TEXTS = ["one", "two"]


def encoded(texts=TEXTS, **options) -> torch.Tensor:
    return torch.cat(list(OpenAI("m", **options).encode(texts)))


def status(code: int, message: str = "no", **headers: str):
    return lambda to, body: answer(to, code, {"error": {"message": message, "code": "some_code"}}, **headers)


def cut(to, body) -> None:
    """Promise more than is sent."""
    to.send_response(200)
    to.send_header("Content-Length", "100000")
    to.end_headers()
    to.wfile.write(b'{"data": [{"index": 0, "embed')
    to.close_connection = True


def no_answer(to, body) -> None:
    to.close_connection = True
    to.connection.close()


def raw(value):
    return lambda to, body: answer(to, 200, value)


@pytest.mark.parametrize("fault", [status(500), status(503), status(429), cut, no_answer, raw(b"<html>busy</html>")])
def test_what_passes_is_tried_again(server, fault):
    server.faults = [fault, fault]
    torch.testing.assert_close(encoded(), torch.tensor([vector(text) for text in TEXTS], dtype=torch.float32))


def test_the_server_says_how_long_to_wait(server):
    server.faults = [status(429, Retry_After="0.4")]
    encoded()
    assert server.times[1] - server.times[0] >= 0.4


def test_it_may_say_a_date(server):
    server.faults = [status(503, Retry_After=email.utils.formatdate(time.time() + 2, usegmt=True))]
    encoded()
    assert server.times[1] - server.times[0] >= 0.9


def test_a_wait_of_hours_is_told_and_not_begun(server):
    server.faults = [status(429, Retry_After="7200")]
    with pytest.raises(AtlasError, match="to wait 7,200 seconds - run it again then; paid vectors are kept"):
        encoded()
    assert len(server.asked) == 1


def test_it_gives_up_and_says_why(server):
    server.faults = [status(500, "the disk is full")] * 20
    with pytest.raises(AtlasError, match="in 7 tries: status 500 some_code: the disk is full - run it again later"):
        encoded()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(401, "who are you"), "status 401 some_code: who are you - set OPENAI_API_KEY"),
        (status(404), "look at the model and OPENAI_BASE_URL"),
        (status(400, "text 7 is empty"), "status 400 some_code: text 7 is empty"),
        (status(302, Location="http://evil.example/"), "has moved; set OPENAI_BASE_URL"),
        (lambda to, body: answer(to, 429, {"error": {"code": "insufficient_quota"}}), "insufficient_quota"),
    ],
)
def test_a_refusal_is_told_at_once(server, fault, reason):
    server.faults = [fault]
    with pytest.raises(AtlasError, match=reason):
        encoded()
    assert len(server.asked) == 1


def test_a_redirect_does_not_carry_the_key_elsewhere(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.faults = [status(307, Location=f"http://127.0.0.1:{server.server_port}/elsewhere/embeddings")]
    with pytest.raises(AtlasError, match="moved"):
        encoded()
    assert len(server.asked) == 1


def test_the_key_is_not_shown_when_a_server_repeats_it(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.faults = [status(401, "Incorrect API key provided: sk-secret\x1b[31m")]
    with pytest.raises(AtlasError) as error:
        encoded()
    assert "provided: ***" in str(error.value) and "sk-secret" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_batches_that_are_too_large_are_halved(server):
    server.most = 3
    texts = [f"text {i}" for i in range(10)]
    X = encoded(texts)
    torch.testing.assert_close(X, torch.tensor([vector(text) for text in texts], dtype=torch.float32))


def test_an_endless_body_is_not_read_on(server):
    def endless(to, body) -> None:
        to.send_response(200)
        to.end_headers()
        to.close_connection = True
        with suppress(OSError):
            while True:
                to.wfile.write(b'{"data": [' + b" " * 2**20)

    server.faults = [endless]
    with pytest.raises(AtlasError, match=r"more than [\d,]+ bytes in one answer"):
        encoded()


def test_an_answer_that_trickles_ends(server, monkeypatch):
    monkeypatch.setattr("atlas_openai.endpoint.WHOLE", 0.2)
    monkeypatch.setattr("atlas_openai.endpoint.TRIES", 2)

    def trickle(to, body) -> None:
        to.send_response(200)
        to.end_headers()
        to.close_connection = True
        with suppress(OSError):
            for _ in range(100):
                to.wfile.write(b" ")
                time.sleep(0.05)

    server.faults = [trickle, trickle]
    with pytest.raises(AtlasError, match="took more than"):
        encoded()


def test_vectors_of_another_dimension_are_refused_and_not_kept(server):
    encoder = OpenAI("m")
    assert encoder.dim == 8
    server.make = lambda text: vector(text, 7)
    with pytest.raises(AtlasError, match="vectors of 7 dimensions where 8 were expected"):
        list(encoder.encode(TEXTS))
    server.make = vector
    assert torch.cat(list(encoder.encode(TEXTS))).shape == (2, 8)


def test_dimensions_that_were_asked_for_must_come(server):
    with pytest.raises(AtlasError, match="8 dimensions where 5 were expected"):
        encoded(dimensions=5)


def data(*entries):
    return raw({"data": list(entries)})


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (raw([1]), "has no list 'data'"),
        (raw({"data": [1]}), "has no list 'data'"),
        (data({"embedding": [1.0]}), "1 vectors for 3 texts"),
        (data(*[{"index": 0, "embedding": [1.0]}] * 3), "not numbered from 0 on"),
        (data(*[{"embedding": [1.0] * n} for n in (1, 2, 3)]), "different dimensions"),
        (data(*[{"embedding": ["a"]}] * 3), "no list of numbers"),
        (data(*[{"embedding": [1e300]}] * 3), "no list of finite numbers"),
        (data(*[{"embedding": [float("nan")]}] * 3), "no list of finite numbers"),
        (data(*[{"embedding": []}] * 3), "no list of finite numbers"),
        (data(*[{"embedding": "!"}] * 3), "no list of numbers"),
        (raw(b"[" * 100_000), "no JSON"),
    ],
)
def test_answers_that_are_no_vectors_are_told(server, monkeypatch, fault, reason):
    monkeypatch.setattr("atlas_openai.endpoint.TRIES", 1)
    encoder = OpenAI("m")
    space = encoder.space()
    again = OpenAI("m")
    assert again.space() == space
    server.faults = [fault]
    with pytest.raises(AtlasError, match=reason):
        list(again.encode(TEXTS))


def test_vectors_in_base64_and_in_any_order_are_read(server):
    import base64

    import numpy as np

    def shuffled(to, body) -> None:
        whole = said(body, lambda text: base64.b64encode(np.array(vector(text), "<f4").tobytes()).decode())
        answer(to, 200, {**whole, "data": whole["data"][::-1]})

    server.faults = [shuffled, shuffled]
    torch.testing.assert_close(encoded(), torch.tensor([vector(text) for text in TEXTS], dtype=torch.float32))


@pytest.mark.parametrize("address", ["ftp://host/v1", "host:80", "http://", "file:///etc/passwd", "http://a b/"])
def test_an_address_of_no_api_is_refused(monkeypatch, address):
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(AtlasError, match=r"needs an address such as https://api\.openai\.com/v1 in OPENAI_BASE_URL"):
        encoded()


def test_a_password_in_the_address_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:hidden@host/v1")
    with pytest.raises(AtlasError, match="without a password") as error:
        encoded()
    assert "hidden" not in str(error.value)


def test_nobody_there_is_told_at_once(server, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(AtlasError, match=r"cannot reach 127\.0\.0\.1: .* - look at OPENAI_BASE_URL"):
        encoded()


def test_a_key_over_http_to_another_machine_is_warned_of(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gpu.example/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.warns(AtlasWarning, match=r"goes to gpu\.example unencrypted"):
        _ = OpenAI("m").endpoint
