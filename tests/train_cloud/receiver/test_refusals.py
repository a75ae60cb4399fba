"""The receiver over real sockets: who may come in, and what becomes of those who break the rules."""

import hashlib
import json
import math
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from experience.batches import DEMONSTRATION, NOBODY
from experience.codec import Column, LapRecord, Layout, encode_batch
from experience.environment import racing
from racing.track import Track
from racing.track_text import track_hash, track_text
from tests.support.experience import made_up_batch
from tests.support.receivers import CONFIG, ThreadedReceiver, blob, hello
from tests.support.runs import boxes
from tests.support.waiting import wait_until
from train_cloud.environment import task_config
from train_cloud.receiver.plausible import greatest_reward
from train_cloud.run_config import TaskSettings
from train_cloud.versions import LOST_VERSIONS
from wire.frames import encode_frame
from wire.messages import (
    MAX_UP_FRAME_BYTES,
    PROTOCOL,
    Ack,
    CloseCode,
    Error,
    ErrorCode,
    TrackAnnouncement,
    TransitionBatch,
)
from wire.pairing import basic_auth_header

HELLO = hello(CONFIG)
B = "b" * 32


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
        wrong = {"Authorization": basic_auth_header("WrongTokenWrongToken")}
        statuses = [refusal(receiver, additional_headers=wrong)[0] for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        status, text, headers = refusal(receiver, additional_headers=wrong)
        assert status == 429
        assert 0 < int(headers["Retry-After"]) <= 60
        assert "Too many wrong tokens" in text
        client.store(1)
    # A home is one address: the bridge with the right token, which dials again, must not wait for whoever guesses.
    with receiver.client() as client:
        client.begin(HELLO)


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
            with socket.create_connection(("127.0.0.1", receiver.port), timeout=120) as stranger:
                stranger.sendall(garbage)
        client.store(1, 2)
    assert receiver.stored_numbers(HELLO.stream) == [1, 2]


def test_a_bridge_of_another_task_is_refused_with_both_signatures(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.say(hello(CONFIG, signature="racing-0 obs=3"))
        error = client.hear(Error)
        assert error.code == ErrorCode.WRONG_SIGNATURE
        assert "racing-0 obs=3" in error.text
        assert racing(task_config(CONFIG)).signature in error.text
        assert client.close_code() == CloseCode.REFUSED


def test_a_bridge_of_another_task_is_told_the_options_of_this_one(tmp_path: Path) -> None:
    task = TaskSettings(control_hz=25.0, progress_scale=0.2, wheels_out_penalty=1 / 3)
    running = ThreadedReceiver(msgspec.structs.replace(CONFIG, task=task), tmp_path)
    with running.client() as client:
        client.say(HELLO)
        text = client.hear(Error).text
    assert "`--rate 25 --task progress_scale=0.2 --task wheels_out_penalty=0.3333333333333333`" in text
    running.close()


def test_a_bridge_with_another_observation_space_is_refused(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.say(hello(CONFIG, spaces=boxes(7, 2).text))
        error = client.hear(Error)
        assert (error.code, client.close_code()) == (ErrorCode.WRONG_SIGNATURE, CloseCode.REFUSED)
        assert "with other observations or actions" in error.text


@pytest.mark.parametrize("spaces", ["", "{}", boxes(7, 2).text.replace("float32", "object")])
def test_spaces_that_are_none_are_refused_in_a_sentence(receiver: ThreadedReceiver, spaces: str) -> None:
    with receiver.client() as client:
        client.say(hello(CONFIG, spaces=spaces))
        error = client.hear(Error)
        assert (error.code, client.close_code()) == (ErrorCode.BAD_MESSAGE, CloseCode.REFUSED)
    assert receiver.store.streams() == {}


def test_a_role_that_the_receiver_does_not_have_is_refused_by_name(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.say(hello(CONFIG, role="fly"))
        error = client.hear(Error)
        assert (error.code, client.close_code()) == (ErrorCode.UNKNOWN_ROLE, CloseCode.REFUSED)
        assert "serves the roles collect, serve_env, stream, not 'fly'" in error.text


def test_a_stream_keeps_what_its_rows_hold(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
    assert receiver.store.streams()[HELLO.stream].spaces == racing().spaces.text


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


def test_a_version_that_was_never_published_is_refused(receiver: ThreadedReceiver) -> None:
    receiver.store.put_weights(3, b"weights", hashlib.sha256(b"weights").hexdigest())
    wait_until(lambda: receiver.receiver.encoded_weights(False) is not None, "the weights are known")

    def claiming(version: int) -> bytes:
        return encode_batch(replace(made_up_batch(1), policy_versions=np.full(20, version, np.uint32)))

    with receiver.client() as client:
        client.begin(HELLO)
        # What a lost life published since the last checkpoint, its bridges still hold.
        client.say(TransitionBatch(1, claiming(3 + LOST_VERSIONS)))
        client.hear(Ack)
        # What no policy drove claims none.
        client.say(TransitionBatch(2, claiming(DEMONSTRATION)))
        client.say(TransitionBatch(3, claiming(NOBODY)))
        client.hear(Ack, lambda ack: ack.stored_through == 3)
        client.say(TransitionBatch(4, claiming(2**32 - 2)))
        error = client.hear(Error)
        assert error.code == ErrorCode.BAD_BATCH
        assert "names version 4294967294" in error.text
    assert receiver.stored_numbers(HELLO.stream) == [1, 2, 3]


def test_a_reward_that_the_task_does_not_give_is_refused(receiver: ThreadedReceiver) -> None:
    most = greatest_reward(CONFIG)
    assert 1_000 < most < 10_000

    def rewarding(reward: float) -> bytes:
        return encode_batch(replace(made_up_batch(1), rewards=np.full(20, reward, np.float32)))

    with receiver.client() as client:
        client.begin(HELLO)
        client.say(TransitionBatch(1, rewarding(-most)))
        client.hear(Ack)
        client.say(TransitionBatch(2, rewarding(-2 * most)))
        assert "this run's task gives" in client.hear(Error).text
    assert receiver.stored_numbers(HELLO.stream) == [1]


def test_a_lap_that_nobody_can_drive_is_refused(receiver: ThreadedReceiver) -> None:
    text = track_text(Track.generate(7, 3000.0))
    first = msgspec.structs.replace(HELLO, track=track_hash(text))
    fast = encode_batch(replace(made_up_batch(1), laps=(LapRecord(0, 19.0, True),)))
    with receiver.client() as client:
        assert client.begin(first).wants_track
        client.say(TrackAnnouncement(text))
        client.say(TransitionBatch(1, fast))
        assert "a lap of 19.000 s" in client.hear(Error).text
    with receiver.client() as client:
        assert not client.begin(first).wants_track
        client.say(TransitionBatch(1, fast))
        assert "a lap of 19.000 s" in client.hear(Error).text
        assert client.close_code() == CloseCode.INVALID_DATA


def _nan_batch() -> bytes:
    """A batch that only a broken bridge can make: sound in every respect but for a lap time that is NaN."""
    batch = replace(made_up_batch(1), laps=(LapRecord(0, math.nan, True),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experience.codec.check_batch", lambda _: None)
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
    assert receiver.stored_numbers(B) == [1]


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
    assert receiver.stored_numbers(HELLO.stream) == []


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
