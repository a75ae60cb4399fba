"""The receiver over real sockets: what it stores, acknowledges and hands on, and how it treats who breaks rules."""

import hashlib
import json
import logging
import math
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.support.experience import made_up_batch
from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import Client, ThreadedReceiver, blob, hello
from tests.support.runs import run_config
from tests.support.waiting import wait_until
from train_cloud.receiver import server
from train_cloud.store import Store, TrainerProgress
from wire.codec import Column, LapRecord, Layout, decode_batch, encode_batch, encode_frame
from wire.messages import (
    MAX_UP_FRAME_BYTES,
    PROTOCOL,
    Ack,
    CloseCode,
    Drain,
    Error,
    ErrorCode,
    Pace,
    Ping,
    Pong,
    Transition,
    TransitionBatch,
    WeightsUpdate,
)
from wire.pairing import basic_auth_header

CONFIG = run_config(run_id="receiver-test", max_bridges=8)
HELLO = hello(CONFIG)
B = "b" * 32


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ThreadedReceiver]:
    running = ThreadedReceiver(CONFIG, tmp_path)
    yield running
    running.close()


def stored_numbers(receiver: ThreadedReceiver, stream: str = HELLO.stream) -> list[int]:
    return [row.number for row in receiver.store.read_batches(0, 10**6) if row.stream == stream]


# -- what it is for


def test_a_bridge_is_welcomed_and_its_batches_are_stored_unchanged(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        welcome = client.begin(HELLO)
        assert (welcome.run_id, welcome.stored_through, welcome.safe_through) == ("receiver-test", 0, 0)
        assert welcome.max_lead_steps == CONFIG.max_lead_steps
        client.store(1, 2, 3)
    assert [row.blob for row in receiver.store.read_batches(0, 10)] == [blob(1), blob(2), blob(3)]


def test_an_acknowledged_batch_is_committed(receiver: ThreadedReceiver) -> None:
    reader = Store(receiver.store.path)
    with receiver.client() as client:
        client.begin(HELLO)
        for number in range(1, 30):
            client.store(number)
            assert reader.streams()[HELLO.stream].stored_through == number
    reader.close()


def test_a_reconnecting_bridge_is_told_where_to_resume(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1, 2)
    with receiver.client() as client:
        assert client.begin(HELLO).stored_through == 2
        client.store(3)
    assert stored_numbers(receiver) == [1, 2, 3]


def test_a_repeated_batch_is_acknowledged_and_stored_once(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1, 2)
        client.say(TransitionBatch(1, blob(1)))
        assert client.hear(Ack).stored_through == 2
    assert stored_numbers(receiver) == [1, 2]


def test_a_batch_out_of_order_is_refused_with_the_expected_number_and_the_session_goes_on(
    receiver: ThreadedReceiver,
) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.say(TransitionBatch(3, blob(3)))
        error = client.hear(Error)
        assert error.code == ErrorCode.OUT_OF_ORDER
        assert "batch 1 is expected" in error.text
        client.store(1, 2, 3)
    assert stored_numbers(receiver) == [1, 2, 3]


def test_only_what_the_backup_reported_is_called_safe(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1, 2)
        assert all(ack.safe_through == 0 for ack in client.heard if isinstance(ack, Ack))
        receiver.store.mark_safe(HELLO.stream, 1)
        receiver.receiver.safe(HELLO.stream, 1)
        assert client.hear(Ack, lambda ack: ack.safe_through > 0) == Ack(2, 1)


def test_weights_reach_every_bridge_as_they_appear_and_a_new_one_at_once(receiver: ThreadedReceiver) -> None:
    def publish(version: int) -> bytes:
        weights = b"weights" * version
        receiver.store.put_weights(version, weights, hashlib.sha256(weights).hexdigest())
        return weights

    with receiver.client() as first, receiver.client(text=True) as second:
        first.begin(HELLO)
        second.begin(hello(CONFIG, B, "pc-b"))
        weights = publish(1)
        assert first.hear(WeightsUpdate).blob == weights
        assert second.hear(WeightsUpdate).blob == weights
    with receiver.client() as late:
        late.begin(HELLO)
        assert late.hear(WeightsUpdate).version == 1
    with receiver.client() as informed:
        informed.begin(hello(CONFIG, weights_version=1))
        weights = publish(2)
        assert informed.hear(WeightsUpdate).blob == weights


def test_bridges_hear_how_far_the_trainer_is(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1)
        receiver.store.put_progress(TrainerProgress(trained_steps=12))
        expected = Pace(20, 12, CONFIG.max_lead_steps)
        assert client.hear(Pace, lambda pace: pace.trained_steps == 12) == expected


def test_a_ping_is_answered_with_its_time(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.say(Ping(12.5))
        assert client.hear(Pong) == Pong(12.5)


def test_a_text_client_takes_part_with_single_transitions(receiver: ThreadedReceiver) -> None:
    made = made_up_batch(1, run_lengths=(1,))
    step = Transition(
        number=1,
        observation=made.observations[0].tolist(),
        action=made.actions[0].tolist(),
        reward=0.5,
        next_observation=made.observations[1].tolist(),
        terminated=False,
        truncated=True,
    )
    with receiver.client(text=True) as client:
        client.begin(HELLO)
        client.say(step)
        client.hear(Ack, lambda ack: ack.stored_through == 1)
    (row,) = receiver.store.read_batches(0, 10)
    batch = decode_batch(row.blob, receiver.receiver.layout)
    assert row.steps == batch.steps == 1
    assert np.array_equal(batch.observations, made.observations)
    assert (batch.rewards[0], batch.terminated[0], batch.truncated[0]) == (0.5, False, True)


def test_a_newer_connection_of_a_stream_takes_over(receiver: ThreadedReceiver) -> None:
    with receiver.client() as old, receiver.client() as new:
        old.begin(HELLO)
        old.store(1)
        assert new.begin(HELLO).stored_through == 1
        assert old.close_code() == CloseCode.REPLACED
        new.store(2)
    assert stored_numbers(receiver) == [1, 2]


def test_at_the_end_bridges_are_told_to_drain_and_let_go(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1)
        receiver.stop.set()
        client.hear(Drain)
        assert client.close_code() == CloseCode.GOING_AWAY


# -- who may come in


def refusal(receiver: ThreadedReceiver, **changes: Any) -> tuple[int, str, Any]:
    with pytest.raises(InvalidStatus) as refused:
        receiver.client(**changes)
    response = refused.value.response
    return response.status_code, bytes(response.body or b"").decode(), response.headers


def test_a_wrong_or_missing_token_is_unauthorized_and_not_echoed(receiver: ThreadedReceiver) -> None:
    wrong = {"Authorization": basic_auth_header("WrongTokenWrongToken")}
    status, text, headers = refusal(receiver, additional_headers=wrong)
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="ac-training"')
    assert "pairing string" in text
    assert "WrongToken" not in text
    assert refusal(receiver, additional_headers={})[0] == 401


def test_an_address_that_keeps_guessing_has_to_wait_while_open_sessions_go_on(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        statuses = [refusal(receiver, additional_headers={})[0] for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        status, text, headers = refusal(receiver)
        assert status == 429
        assert 0 < int(headers["Retry-After"]) <= 60
        assert "Too many wrong tokens" in text
        client.store(1)


def test_another_protocol_version_is_refused_with_the_one_that_is_spoken(receiver: ThreadedReceiver) -> None:
    status, text, _ = refusal(receiver, subprotocols=[Subprotocol("ac-training.v9")])
    assert status == 400
    assert PROTOCOL in text
    assert "ac-training.v9" in text
    assert "no subprotocol" in refusal(receiver, subprotocols=None)[1]


def test_an_unknown_path_is_not_found(receiver: ThreadedReceiver) -> None:
    elsewhere = receiver.pairing.url + "admin"
    token = {"Authorization": basic_auth_header(receiver.pairing.token)}
    with pytest.raises(InvalidStatus) as refused:
        connect(elsewhere, additional_headers=token).__enter__()
    assert refused.value.response.status_code == 404


def test_no_more_bridges_than_allowed_are_served(receiver: ThreadedReceiver) -> None:
    clients = [receiver.client() for _ in range(CONFIG.max_bridges)]
    status, text, headers = refusal(receiver)
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "8 bridges" in text
    for client in clients:
        client.socket.close()
    wait_until(lambda: _can_connect(receiver), "there is room again")


def _can_connect(receiver: ThreadedReceiver) -> bool:
    try:
        receiver.client().socket.close()
    except InvalidStatus:
        return False
    return True


def test_a_stranger_who_sends_garbage_disturbs_nobody(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        for garbage in (b"\x00" * 4096, b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"x" * 100_000):
            with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as stranger:
                stranger.sendall(garbage)
        client.store(1, 2)
    assert stored_numbers(receiver) == [1, 2]


# -- who breaks the rules


def test_a_bridge_of_another_task_is_refused_with_both_signatures(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.say(hello(CONFIG, signature="racing-0 obs=3"))
        error = client.hear(Error)
        assert error.code == ErrorCode.WRONG_SIGNATURE
        assert "racing-0 obs=3" in error.text
        assert receiver.receiver.signature in error.text
        assert client.close_code() == CloseCode.REFUSED


def test_a_bridge_with_another_observation_space_is_refused(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.say(hello(CONFIG, observation_size=7))
        error = client.hear(Error)
        assert (error.code, client.close_code()) == (ErrorCode.WRONG_SIGNATURE, CloseCode.REFUSED)
        assert "observation 7" in error.text


def test_the_first_message_must_be_a_hello(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.say(TransitionBatch(1, blob(1)))
        assert client.hear(Error).code == ErrorCode.BAD_MESSAGE
        assert client.close_code() == CloseCode.POLICY_VIOLATION


def test_a_bridge_that_says_nothing_is_let_go(receiver: ThreadedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train_cloud.receiver.server.HELLO_SECONDS", 0.2)
    with receiver.client() as client:
        assert client.close_code() == CloseCode.POLICY_VIOLATION


def test_one_name_with_two_spools_at_once_is_refused(receiver: ThreadedReceiver) -> None:
    with receiver.client() as first, receiver.client() as second:
        first.begin(HELLO)
        second.say(hello(CONFIG, stream=B))
        assert second.hear(Error).code == ErrorCode.DUPLICATE_BRIDGE
        assert second.close_code() == CloseCode.TRY_AGAIN_LATER
        first.store(1)


def _nan_batch() -> bytes:
    """A batch that only a broken bridge can make: sound in every respect but for a lap time that is NaN."""
    batch = replace(made_up_batch(1), laps=(LapRecord(0, math.nan, True),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wire.codec.check_batch", lambda _: None)
        return encode_batch(batch)


def _other_layout() -> bytes:
    batch = made_up_batch(1)
    other = Layout(Column(batch.layout.observation.size), Column(batch.layout.action.size))
    return encode_batch(replace(batch, layout=other))


@pytest.mark.parametrize(
    "damaged",
    [
        lambda: blob(1)[:-7],
        lambda: b"",
        lambda: bytes(1000),
        lambda: blob(1)[:40] + bytes([blob(1)[40] ^ 1]) + blob(1)[41:],
        _other_layout,
        _nan_batch,
    ],
    ids=["truncated", "empty", "zeros", "one bit", "another layout", "NaN"],
)
def test_a_bad_batch_is_refused_and_only_its_sender_is_let_go(
    receiver: ThreadedReceiver, damaged: Callable[[], bytes]
) -> None:
    with receiver.client() as good, receiver.client() as bad:
        good.begin(HELLO)
        bad.begin(hello(CONFIG, B, "pc-b"))
        bad.store(1)
        bad.say(TransitionBatch(2, damaged()))
        bad.blurt(TransitionBatch(3, blob(3)))
        error = bad.hear(Error)
        assert error.code == ErrorCode.BAD_BATCH
        assert "Batch 2" in error.text
        assert bad.close_code() == CloseCode.INVALID_DATA
        good.store(1, 2)
    assert stored_numbers(receiver, B) == [1]


@pytest.mark.parametrize(
    ("place", "value"),
    [("reward", math.nan), ("reward", math.inf), ("reward", 1e300)]
    + [(place, value) for place in ("observation", "action") for value in (math.nan, math.inf, 1e30, 0.3)],
)
def test_a_transition_that_no_batch_can_hold_is_refused(receiver: ThreadedReceiver, place: str, value: float) -> None:
    made = made_up_batch(1, run_lengths=(1,))
    numbers: dict[str, Any] = {
        "observation": made.observations[0].tolist(),
        "action": made.actions[0].tolist(),
        "reward": 0.5,
    }
    if place == "reward":
        numbers["reward"] = value
    else:
        numbers[place][0] = value
    packed = {"type": "transition", "number": 1, "next_observation": made.observations[1].tolist()}
    packed |= numbers | {"terminated": False, "truncated": False}
    with receiver.client() as client:
        client.begin(HELLO)
        client.socket.send(msgspec.msgpack.encode(packed))
        assert client.hear(Error).code in (ErrorCode.BAD_BATCH, ErrorCode.BAD_MESSAGE)
        assert client.close_code() == CloseCode.INVALID_DATA
    assert stored_numbers(receiver) == []


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc1",
        b"",
        encode_frame(HELLO)[:20],
        json.dumps({"type": "ping"}),
        json.dumps({"type": "ping", "time": 1.0, "extra": 1}),
        '{"type": "nonsense"}',
        "[" * 10_000,
    ],
    ids=["random", "empty", "truncated", "incomplete", "unknown field", "unknown type", "nested"],
)
def test_a_frame_that_is_no_message_is_refused(receiver: ThreadedReceiver, frame: bytes | str) -> None:
    with receiver.client(text=isinstance(frame, str)) as client:
        client.begin(HELLO)
        client.socket.send(frame)
        assert client.hear(Error).code == ErrorCode.BAD_MESSAGE
        assert client.close_code() == CloseCode.INVALID_DATA


def test_a_frame_above_the_limit_closes_the_connection_as_too_big(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.blurt(bytes(MAX_UP_FRAME_BYTES + 1))
        assert client.close_code() == CloseCode.TOO_BIG


def test_a_second_hello_is_refused(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.say(HELLO)
        assert client.hear(Error).code == ErrorCode.BAD_MESSAGE
        assert client.close_code() == CloseCode.POLICY_VIOLATION


def test_a_bridge_above_its_rate_is_slowed_down_and_loses_nothing(tmp_path: Path) -> None:
    slow = ThreadedReceiver(msgspec.structs.replace(CONFIG, max_messages_per_second=20), tmp_path)
    with slow.client() as client:
        client.begin(HELLO)
        for number in range(220):
            client.say(Ping(float(number)))
        seconds = wait_until(lambda: client.hear(Pong).time == 219.0, "the last answer", 20)
        assert seconds >= 0.8
        client.store(1)
    slow.close()


def test_a_full_disk_is_said_without_an_ack_and_the_resent_batch_is_stored_when_there_is_room(tmp_path: Path) -> None:
    full = ThreadedReceiver(CONFIG, tmp_path, max_bytes=2**20)
    with full.client() as client, full.client() as other:
        client.begin(HELLO)
        client.store(1)
        other.begin(hello(CONFIG, B, "pc-b"))
        filler = Store(full.store.path)
        filler.set_meta("ballast", "x" * 900_000)
        stored = 1
        while not any(isinstance(message, Error) for message in client.heard):
            client.say(TransitionBatch(stored + 1, blob(stored + 1)))
            client.hear(Ack | Error)  # type: ignore[arg-type]
            stored = full.store.streams()[HELLO.stream].stored_through
        (error,) = [message for message in client.heard if isinstance(message, Error)]
        assert error.code == ErrorCode.DISK_FULL
        assert f"from batch {stored + 1}" in error.text
        client.say(Ping(1.0))
        client.hear(Pong)
        filler.set_meta("ballast", "")
        filler.close()
        client.store(stored + 1, stored + 2)
        other.store(1)
    assert stored_numbers(full) == list(range(1, stored + 3))
    full.close()


def test_a_bridge_that_does_not_listen_delays_nobody(receiver: ThreadedReceiver) -> None:
    with receiver.client() as deaf, receiver.client() as other:
        deaf.begin(HELLO)
        other.begin(hello(CONFIG, B, "pc-b"))
        for version in range(1, 5):
            weights = bytes([version]) * 4 * 2**20
            receiver.store.put_weights(version, weights, hashlib.sha256(weights).hexdigest())
            assert other.hear(WeightsUpdate).version == version
            other.store(version)
        deaf.hear(WeightsUpdate, lambda update: update.version == 4)


def test_a_bridge_whose_packets_vanish_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert server.KEEPALIVE_SECONDS + server.SILENCE_SECONDS <= 20
    monkeypatch.setattr(server, "KEEPALIVE_SECONDS", 0.2)
    monkeypatch.setattr(server, "SILENCE_SECONDS", 0.3)
    caplog.set_level(logging.INFO)
    watchful = ThreadedReceiver(CONFIG, tmp_path)
    with FaultProxy(("127.0.0.1", watchful.port)) as proxy:
        client = Client(replace(watchful.pairing, port=proxy.port))
        client.begin(HELLO)
        client.store(1)
        proxy.black_hole()
        wait_until(lambda: "bridge disconnected" in caplog.text, "the silence is noticed")
    watchful.close()
