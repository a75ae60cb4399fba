"""What the receiver tells over plain HTTP, to those who may know, and that asking changes nothing."""

import socket
import time
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import msgspec
import pytest

from experience.environment import racing
from tests.support.receivers import CONFIG, TOKEN, ThreadedReceiver, blob, hello
from tests.support.waiting import wait_until
from train_cloud.receiver.http_answers import STORE_FULL_SECONDS, Vitals
from train_cloud.receiver.writer import Job, Result, WriteOutcome
from train_cloud.store import Store, TrainerProgress
from wire.messages import Error, TransitionBatch
from wire.pairing import basic_auth_header

HELLO = hello(CONFIG)
WITH_TOKEN = {"Authorization": basic_auth_header(TOKEN)}


def well() -> Vitals:
    return Vitals(lambda: ("", 0.0), bridges=lambda: 1, connections=1, weights_version=1)


def get(receiver: ThreadedReceiver, path: str, headers: dict[str, str] | None = None) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=120)
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    return response, response.read().decode()


def figures(receiver: ThreadedReceiver) -> dict[str, float]:
    response, text = get(receiver, "/metrics", WITH_TOKEN)
    assert response.status == 200
    return {name: float(value) for name, value in (line.split() for line in text.splitlines() if line[0] != "#")}


def test_anybody_may_ask_whether_the_receiver_is_healthy(receiver: ThreadedReceiver) -> None:
    response, text = get(receiver, "/healthz")
    assert (response.status, text) == (200, "ok\n")
    assert response.getheader("Content-Type") == "text/plain; charset=utf-8"


def test_metrics_count_what_was_stored_trained_and_refused(receiver: ThreadedReceiver) -> None:
    before = figures(receiver)
    assert "ac_training_last_batch_age_seconds" not in before
    assert (before["ac_training_bridges"], before["ac_training_stored_steps"]) == (0, 0)
    receiver.store.put_progress(TrainerProgress(trained_steps=30, consumed_steps=40, updates=15, state="training"))
    with receiver.client() as client:
        client.begin(HELLO)
        began = time.monotonic()
        client.store(1, 2)
        receiver.store.mark_safe(HELLO.stream, 1)
        wait_until(lambda: figures(receiver)["ac_training_batches_stored_total"] == 2, "both are counted")
        found, passed = figures(receiver), time.monotonic() - began
        client.blurt(TransitionBatch(3, b"no batch"))
        client.hear(Error)
    assert found["ac_training_bridges"] == 1
    assert (found["ac_training_stored_steps"], found["ac_training_safe_steps"]) == (40, 20)
    assert (found["ac_training_trained_steps"], found["ac_training_updates"]) == (30, 15)
    assert found["ac_training_weights_version"] == 0
    assert found["ac_training_store_bytes"] >= len(blob(1)) + len(blob(2))
    assert found["ac_training_backup_failing_seconds"] == 0
    assert 0 <= found["ac_training_last_batch_age_seconds"] <= passed
    assert found["ac_training_healthy"] == 1
    assert figures(receiver)["ac_training_batches_refused_total"] == 1


def test_metrics_are_prometheus_text_with_help_and_type(receiver: ThreadedReceiver) -> None:
    response, text = get(receiver, "/metrics", WITH_TOKEN)
    assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert text.endswith("\n")
    lines = text.splitlines()
    for told, kind, value in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        name = value.split()[0]
        assert told.startswith(f"# HELP {name} ")
        assert kind == f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"


def test_metrics_need_the_token_and_guessing_is_slowed_down_while_health_is_told(receiver: ThreadedReceiver) -> None:
    wrong = {"Authorization": basic_auth_header("WrongTokenWrongToken")}
    statuses = [get(receiver, "/metrics", headers)[0].status for headers in [{}, wrong] * 12]
    assert statuses == [401] * 20 + [401, 429] * 2
    response, text = get(receiver, "/metrics", wrong)
    assert response.status == 429
    assert "ac_training" not in text
    assert get(receiver, "/metrics", WITH_TOKEN)[0].status == 200
    assert get(receiver, "/healthz")[0].status == 200


@pytest.mark.parametrize("path", ["/healthz/", "/healthz?x=1", "//healthz", "/metrics/../healthz", "/%68ealthz"])
def test_what_only_looks_like_a_path_is_judged_like_any_other(receiver: ThreadedReceiver, path: str) -> None:
    assert get(receiver, path)[0].status == 401
    assert get(receiver, path, WITH_TOKEN)[0].status == 404


def test_other_methods_bodies_and_floods_change_nothing(receiver: ThreadedReceiver) -> None:
    requests = [b"%s /healthz HTTP/1.1\r\nHost: a\r\n\r\n" % method for method in (b"POST", b"DELETE", b"PRI", b"GET")]
    requests += [
        b"GET /healthz HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000,
        b"GET /metrics HTTP/1.1\r\n" + b"Authorization: Basic eDp5\r\n" * 500 + b"\r\n",
        b"GET /" + b"m" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n" * 1000,
    ]
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1)
        for request in requests:
            with socket.create_connection(("127.0.0.1", receiver.port), timeout=120) as stranger:
                stranger.settimeout(60)
                _send_and_hear_out(stranger, request)
        for _ in range(200):
            assert get(receiver, "/healthz")[0].status == 200
        waiting = [socket.create_connection(("127.0.0.1", receiver.port), timeout=120) for _ in range(50)]
        client.store(2)
        assert figures(receiver)["ac_training_bridges"] == 1
        for stranger in waiting:
            stranger.close()
    assert receiver.stored_numbers(HELLO.stream) == [1, 2]


def request(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


AUTHORIZED = b"Authorization: " + basic_auth_header(TOKEN).encode()
OPENING = (b"Host: a", AUTHORIZED, b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
BROKEN = {
    "another method": (405, request(b"POST /healthz HTTP/1.1", b"Host: a")),
    "another method with a body": (400, request(b"POST /healthz HTTP/1.1", b"Content-Length: 5") + b"hello"),
    "a large body": (400, request(b"POST / HTTP/1.1", b"Content-Length: 300000") + b"h" * 300_000),
    "a chunked body": (400, request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"),
    "OPTIONS": (405, request(b"OPTIONS * HTTP/1.1", b"Host: a")),
    "CONNECT": (405, request(b"CONNECT a:443 HTTP/1.1", b"Host: a")),
    "HTTP/0.9": (400, b"GET /healthz\r\n"),
    "HTTP/1.0": (200, request(b"GET /healthz HTTP/1.0")),
    "a WebSocket in HTTP/1.0": (401, request(b"GET / HTTP/1.0")),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/9.9": (400, request(b"GET / HTTP/9.9")),
    "no Host": (200, request(b"GET /healthz HTTP/1.1")),
    "lines without CR": (400, b"GET /healthz HTTP/1.1\nHost: a\n\n"),
    "an empty line first": (400, b"\r\n" + request(b"GET /healthz HTTP/1.1")),
    "too many spaces": (400, request(b"GET  /healthz HTTP/1.1")),
    "letters in the path": (400, request("GET /für HTTP/1.1".encode())),
    "a whole address": (401, request(b"GET http://a/healthz HTTP/1.1", b"Host: a")),
    "a header without a colon": (400, request(b"GET /healthz HTTP/1.1", b"nothing")),
    "a header with a space": (400, request(b"GET /healthz HTTP/1.1", b"na me: x")),
    "too long a line": (414, request(b"GET /" + b"m" * 100_000 + b" HTTP/1.1")),
    "too long a header": (431, request(b"GET / HTTP/1.1", b"X: " + b"m" * 100_000)),
    "too many headers": (431, request(b"GET / HTTP/1.1", *[b"X: y"] * 500)),
    "zeros": (400, b"\x00" * 4096 + b"\r\n"),
    "no line at all": (414, b"x" * 100_000),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\r\n"),
    "a WebSocket without a key": (400, request(b"GET / HTTP/1.1", *OPENING, b"Sec-WebSocket-Protocol: ac-training.v1")),
    "a WebSocket by POST": (405, request(b"POST / HTTP/1.1", *OPENING, b"Sec-WebSocket-Protocol: ac-training.v1")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BROKEN))
def test_every_request_gets_an_answer(receiver: ThreadedReceiver, name: str) -> None:
    status, sent = BROKEN[name]
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as stranger:
        answer = heard_from(stranger, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"Connection: close" in head
    assert body


@pytest.mark.slow
def test_a_request_that_ends_in_the_middle_or_never_comes_whole_is_answered(receiver: ThreadedReceiver) -> None:
    half = b"GET /healthz HTTP/1.1\r\nHost:"
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=40) as patient:
        patient.sendall(half)
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as hasty:
            hasty.sendall(half)
            hasty.shutdown(socket.SHUT_WR)
            assert heard_from(hasty, b"").startswith(b"HTTP/1.1 400 ")
        assert heard_from(patient, b"").startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/metrics", 200), ("/", 405)])
def test_a_head_is_told_what_a_get_would_be_without_the_content(
    receiver: ThreadedReceiver, path: str, status: int
) -> None:
    head = request(b"HEAD " + path.encode() + b" HTTP/1.1", AUTHORIZED)
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as stranger:
        answer = heard_from(stranger, head)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: " in answer
    assert answer.endswith(b"\r\n\r\n")


def heard_from(stranger: socket.socket, sent: bytes) -> bytes:
    """All that comes back, until the other side hangs up."""
    if sent:
        stranger.sendall(sent)
    answer = b""
    while piece := stranger.recv(65536):
        answer += piece
    return answer


def _send_and_hear_out(stranger: socket.socket, request: bytes) -> None:
    try:
        stranger.sendall(request)
        while stranger.recv(65536):
            pass
    except ConnectionError:
        pass


def test_health_is_told_while_all_bridges_are_connected(tmp_path: Path) -> None:
    running = ThreadedReceiver(msgspec.structs.replace(CONFIG, max_bridges=1), tmp_path)
    with running.client() as client:
        client.begin(HELLO)
        assert get(running, "/healthz")[0].status == 200
        assert figures(running)["ac_training_bridges"] == 1
    running.close()


def test_a_full_store_is_not_healthy(tmp_path: Path) -> None:
    Store(tmp_path / "store.db").close()
    room = (tmp_path / "store.db").stat().st_size + 64 * 1024  # a bridge's place, and not forty batches
    running = ThreadedReceiver(CONFIG, tmp_path, max_bytes=room)
    with running.client() as client:
        client.begin(HELLO)
        for number in range(1, 40):
            client.blurt(TransitionBatch(number, blob(number)))
        client.hear(Error)
        response, text = get(running, "/healthz")
        assert (response.status, response.getheader("Retry-After")) == (503, "5")
        assert text == "not ok: the store is full: batches are refused\n"
        assert figures(running)["ac_training_healthy"] == 0
    running.close()


@pytest.mark.parametrize(
    ("name", "answer", "why"),
    [
        ("writer_busy", None, "the thread that stores batches has ended"),
        (
            "writer_busy",
            ("a batch has not been judged", 61.0),
            "a batch has not been judged for 61 s",
        ),
        ("backup_failing", 121.0, "nothing could be brought to the bucket for 121 s"),
    ],
)
def test_each_thing_that_keeps_the_receiver_from_its_work_is_named(name: str, answer: object, why: str) -> None:
    vitals = well()
    assert vitals.problem() is None
    setattr(vitals, name, lambda: answer)
    assert vitals.problem() == why


def test_a_receiver_that_goes_away_or_has_no_store_is_not_healthy() -> None:
    assert replace(well(), draining=True).problem() == "draining: the instance is going away"
    assert replace(well(), store_unreadable=True).problem() == "the store cannot be read"


class _Nobody:
    ended, spent = False, 0.0

    def done(self, _: Result) -> None:
        raise AssertionError("nobody asked the writer")


def test_a_store_that_takes_batches_again_is_healthy_again() -> None:
    vitals = well()
    job = Job(HELLO.stream, 1, b"", racing().spaces.layout, lambda _: None, _Nobody())
    vitals.count([Result(job, WriteOutcome.NO_ROOM)])
    assert vitals.problem() is not None
    vitals.count([Result(job, WriteOutcome.STORED)])
    assert vitals.problem() is None
    assert (vitals.batches_stored, vitals.batches_refused) == (1, 1)


def test_a_store_that_nobody_asks_any_more_does_not_stay_unhealthy_for_ever() -> None:
    vitals = replace(well(), store_full_at=time.monotonic() - STORE_FULL_SECONDS + 5)
    assert vitals.problem() == "the store is full: batches are refused"
    vitals.store_full_at = time.monotonic() - STORE_FULL_SECONDS - 1
    assert vitals.problem() is None
