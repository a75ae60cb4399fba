"""What one peer can make the receiver hold, and how it is told that this is too much."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.greedy_peers import BINARY, PING, connected, frame, head, tiny_pieces
from tests.support.receivers import CONFIG, ThreadedReceiver, blob, hello
from tests.support.waiting import wait_until
from train_cloud.receiver import intake
from train_cloud.receiver.server import Receiver
from wire.frames import encode_frame
from wire.messages import MAX_HELLO_FRAME_BYTES, MAX_UP_FRAME_BYTES, Ack, CloseCode, TransitionBatch

HELLO = hello(CONFIG)
OTHER = hello(CONFIG, "b" * 32, "pc-b")


def held(receiver: ThreadedReceiver) -> int:
    """Bytes that the receiver counts."""
    running: Receiver = receiver.receiver
    return running._memory.held


def said(caplog: pytest.LogCaptureFixture) -> str:
    """The log with its reasons."""
    return "\n".join(str(vars(record)) for record in caplog.records)


def test_more_pings_than_anybody_needs_end_the_connection(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        with suppress(Exception):
            for _ in range(20):
                client.socket.ping()
            client.store(1)
            for _ in range(2 * intake.MAX_CONTROL_FRAMES):
                client.socket.ping()
        assert client.close_code() == CloseCode.POLICY_VIOLATION
    assert receiver.stored_numbers(HELLO.stream) == [1]


@pytest.mark.slow
def test_who_does_not_read_what_it_asks_for_is_let_go(
    receiver: ThreadedReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "MAX_CONTROL_FRAMES", 10**9)
    caplog.set_level(logging.WARNING)

    async def ping() -> None:
        async with connected(receiver.pairing) as peer:
            await peer.begin(HELLO)
            with suppress(OSError):
                while "not read" not in said(caplog):
                    await peer.say(frame(PING, bytes(125)) * 500)

    asyncio.run(asyncio.wait_for(ping(), 60))
    wait_until(lambda: "what it asked for is not read" in said(caplog), "it is said")


def test_before_its_welcome_a_bridge_may_say_no_more_than_a_hello(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.blurt(bytes(MAX_HELLO_FRAME_BYTES + 1))
        assert client.close_code() == CloseCode.TOO_BIG


@pytest.mark.slow
def test_a_read_of_tiny_pieces_is_taken_apart_no_further_than_it_is_used(receiver: ThreadedReceiver) -> None:
    most = 0

    async def send() -> None:
        async with connected(receiver.pairing) as peer:
            with suppress(OSError):
                await tiny_pieces(peer, HELLO)

    async def watch() -> None:
        nonlocal most
        sending = asyncio.ensure_future(send())
        while not sending.done():
            most = max(most, held(receiver))
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(watch(), 60))
    # 4,096 pieces are the most in a message.
    assert most < 4 * 2**20


def test_what_was_held_is_given_back(receiver: ThreadedReceiver) -> None:
    with receiver.client() as client:
        client.begin(HELLO)
        for number in range(1, 50):
            client.blurt(TransitionBatch(number, blob(number)))
        client.hear(Ack, lambda ack: ack.stored_through == 49)
        wait_until(lambda: held(receiver) == 0, "nothing is held")
        client.socket.send([bytes(2**20)] * 5, text=False)
    wait_until(lambda: held(receiver) == 0, "nothing is held")

    async def break_off() -> None:
        async with connected(receiver.pairing) as peer:
            await peer.begin(HELLO)
            await peer.say(head(BINARY, MAX_UP_FRAME_BYTES) + bytes(3 * 2**20))
            while held(receiver) < 2**20:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(break_off(), 60))
    wait_until(lambda: held(receiver) == 0, "nothing is held")
    assert not receiver.receiver._memory.waiting


def test_who_holds_the_room_with_a_message_that_does_not_end_is_let_go_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "MAX_HELD_IN_ALL", 3 * 2**20)
    monkeypatch.setattr(intake, "STALL_SECONDS", 0.3)
    caplog.set_level(logging.WARNING)
    receiver = ThreadedReceiver(CONFIG, tmp_path)

    async def hog() -> None:
        async with connected(receiver.pairing) as peer:
            await peer.begin(HELLO)
            with suppress(OSError):
                await peer.say(head(BINARY, MAX_UP_FRAME_BYTES) + bytes(3 * 2**20 + 2**18))
                async with connected(receiver.pairing) as other:
                    await other.begin(OTHER)
                    # Little goes in at any time; what is larger goes in when the hog is gone.
                    await other.say(frame(BINARY, encode_frame(TransitionBatch(1, blob(1)))))
                    await asyncio.to_thread(
                        wait_until, lambda: receiver.stored_numbers(OTHER.stream) == [1], "an ordinary batch is stored"
                    )
                    await peer.say(bytes(2**20))
                    await other.say(frame(BINARY, encode_frame(TransitionBatch(2, bytes(2**20)))))
                    answers = b""
                    while b"Batch 2" not in answers:
                        answers += await other.reader.readexactly(1)

    asyncio.run(asyncio.wait_for(hog(), 60))
    assert "a message of" in said(caplog)
    receiver.close()
