"""The receiver over real sockets: what it stores, acknowledges and hands on, whatever a link or a disk does."""

import hashlib
import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from experience.batches import NOBODY
from experience.codec import decode_batch
from experience.environment import racing
from tests.support.experience import made_up_batch
from tests.support.fault_proxy import FaultProxy
from tests.support.receivers import CONFIG, Client, ThreadedReceiver, blob, hello
from tests.support.waiting import wait_until
from train_cloud.receiver import connection, intake, server
from train_cloud.store import Store, TrainerProgress
from wire.messages import (
    Ack,
    CloseCode,
    Drain,
    Error,
    ErrorCode,
    FlowControl,
    Ping,
    Pong,
    Transition,
    TransitionBatch,
    WeightsUpdate,
)

HELLO = hello(CONFIG)
B = "b" * 32


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
    assert receiver.stored_numbers(HELLO.stream) == [1, 2, 3]


def test_a_repeated_batch_is_acknowledged_and_stored_once(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1, 2)
        client.say(TransitionBatch(1, blob(1)))
        assert client.hear(Ack).stored_through == 2
    assert receiver.stored_numbers(HELLO.stream) == [1, 2]


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
    assert receiver.stored_numbers(HELLO.stream) == [1, 2, 3]


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
        expected = FlowControl(20, 12, CONFIG.max_lead_steps)
        assert client.hear(FlowControl, lambda pace: pace.trained_steps == 12) == expected


def test_bridges_hear_that_the_run_is_done_and_new_ones_at_once(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        assert not client.begin(HELLO).done
        receiver.store.put_progress(TrainerProgress(trained_steps=12, state="done"))
        assert client.hear(FlowControl, lambda pace: pace.done).trained_steps == 12
        # Nobody needs it any more, but what was collected is kept as ever.
        client.store(1)
    with receiver.client() as late:
        assert late.begin(HELLO).done


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
    batch = decode_batch(row.blob, racing().spaces.layout)
    assert row.steps == batch.steps == 1
    assert np.array_equal(batch.observations, made.observations)
    assert (batch.rewards[0], batch.terminated[0], batch.truncated[0]) == (0.5, False, True)
    assert batch.policy_versions.tolist() == [NOBODY]


def test_a_newer_connection_of_a_stream_takes_over(receiver: ThreadedReceiver) -> None:
    with receiver.client() as old, receiver.client() as new:
        old.begin(HELLO)
        old.store(1)
        assert new.begin(HELLO).stored_through == 1
        assert old.close_code() == CloseCode.REPLACED
        new.store(2)
    assert receiver.stored_numbers(HELLO.stream) == [1, 2]


def test_at_the_end_bridges_are_told_to_drain_and_let_go(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        client.store(1)
        receiver.stop.set()
        client.hear(Drain)
        assert client.close_code() == CloseCode.GOING_AWAY


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
            client.hear(Ack | Error)  # type: ignore[arg-type]  # isinstance takes a union, too
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
    assert full.stored_numbers(HELLO.stream) == list(range(1, stored + 3))
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


def test_a_silent_link_is_noticed_within_twenty_seconds() -> None:
    # The watch looks once a second.
    assert server.SILENCE_SECONDS + 1 <= 20
    assert intake.KEEPALIVE_SECONDS * 2 < server.SILENCE_SECONDS


def watchful_receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThreadedReceiver:
    monkeypatch.setattr(intake, "KEEPALIVE_SECONDS", 0.2)
    monkeypatch.setattr(server, "SILENCE_SECONDS", 1.0)
    return ThreadedReceiver(msgspec.structs.replace(CONFIG, max_bridges=1), tmp_path)


def test_a_bridge_whose_packets_vanish_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watchful = watchful_receiver(tmp_path, monkeypatch)
    with FaultProxy(("127.0.0.1", watchful.port)) as proxy:
        client = Client(replace(watchful.pairing, port=proxy.port))
        client.begin(HELLO)
        client.store(1)
        proxy.black_hole()
        wait_until(lambda: "bridge disconnected" in caplog.text, "the silence is noticed")
    watchful.close()


@pytest.mark.slow
def test_a_bridge_that_stopped_while_weights_were_due_makes_room_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watchful = watchful_receiver(tmp_path, monkeypatch)
    with FaultProxy(("127.0.0.1", watchful.port)) as proxy:
        client = Client(replace(watchful.pairing, port=proxy.port))
        client.begin(HELLO)
        with proxy.standstill():
            weights = bytes(12 * 2**20)
            watchful.store.put_weights(1, weights, hashlib.sha256(weights).hexdigest())
            wait_until(lambda: "bridge disconnected" in caplog.text, "the silence is noticed")
            wait_until(lambda: _welcomed(watchful), "its place is free")
    watchful.close()


def _welcomed(receiver: ThreadedReceiver) -> bool:
    with suppress(InvalidStatus), receiver.client() as other:
        return bool(other.begin(hello(CONFIG, B, "pc-b")).run_id)
    return False


@pytest.mark.slow
def test_a_bridge_that_asks_without_end_and_reads_no_answer_is_cut_off(
    receiver: ThreadedReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "MAX_UNSAID", 20)
    caplog.set_level(logging.INFO)
    weights = bytes(12 * 2**20)
    receiver.store.put_weights(1, weights, hashlib.sha256(weights).hexdigest())
    with receiver.client(max_queue=1) as deaf:
        deaf.begin(HELLO)
        for number in range(200):
            deaf.blurt(Ping(float(number)))
            if "bridge disconnected" in caplog.text:
                break
        wait_until(lambda: "bridge disconnected" in caplog.text, "it is cut off")
