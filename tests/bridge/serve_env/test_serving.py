"""A receiver that asks on and on and reads nothing costs a PC one connection, and little memory."""

import struct

import numpy as np
import pytest

from experience.remote_calls import Make, Reset, body_of
from experience.values import pack
from tests.conformance.of_bridges import bridge_at
from tests.support.remote_pc import ServedHere
from tests.train_cloud.remote.test_slow_links import LARGE, SIZE
from wire.frames import encode_frame
from wire.messages import MAX_UP_FRAME_BYTES, EnvAction

MOST_BYTES = 256 * 2**20


def test_an_answer_that_is_asked_for_on_and_on_is_not_piled_up() -> None:
    resource = pytest.importorskip("resource", reason="Windows does not say how much memory was used")
    with bridge_at(0) as bridge:
        pc = ServedHere(bridge.pairing, [LARGE], 1)
        client = bridge.client()
        client.answer(client.call(EnvAction.MAKE, body_of(Make(LARGE, outside="pass"))))
        client.value(EnvAction.RESET, body_of(Reset()))
        bridge.link._socket.protocol.max_message_size = MAX_UP_FRAME_BYTES
        call = client.call(EnvAction.STEP, pack(np.ones(1, np.uint8)))
        assert len(client.answer(call).body) > SIZE
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        frame = encode_frame(call)
        with bridge.link._socket.protocol_mutex:
            # Its own thread that reads waits, too.
            bridge.link._socket.socket.sendall((b"\x82\x7e" + struct.pack(">H", len(frame)) + frame) * 1000)
            bridge._links.get(timeout=60).cut()
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES
        bridge.cut()
        bridge.link._socket.protocol.max_message_size = MAX_UP_FRAME_BYTES
        assert len(client.answer(call).body) > SIZE
        client.value(EnvAction.CLOSE)
        pc.end()
