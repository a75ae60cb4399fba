"""`make rotate-token` ends when the receiver takes the new token and refuses the old one."""

from __future__ import annotations

import threading

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud import rotate_token as rotate_module
from scripts.cloud.pair import pair
from scripts.cloud.rotate_token import rotate_token
from tests.support.operated import Operated, operated
from tests.support.receivers import TOKEN, ReceiverProcess
from tests.support.waiting import wait_until
from train_cloud import receiver_client
from wire.pairing import parse_pairing

__all__ = ["operated"]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate_module, "ASK_SECONDS", 0.4)


@pytest.mark.slow
def test_the_receiver_takes_the_new_token_over(operated: Operated) -> None:
    with operated.receiver() as running:
        old = running.pairing()
        followers: list[ReceiverProcess] = []

        def instance() -> None:
            """What the instance does: sees the new token, restarts its receiver with it."""
            wait_until(lambda: operated.token != TOKEN, "the token is rotated", 30)
            running.terminate()
            config = msgspec.structs.replace(operated.config, listen_port=old.port)
            followers.append(ReceiverProcess(config, running.folder, token=operated.token))
            followers[0].pairing()

        thread = threading.Thread(target=instance)
        thread.start()
        try:
            said = operated.run(rotate_token)
            assert said.code == ExitCode.OK, said.err
            assert "takes the new token and refuses the old one" in said.out
            assert receiver_client.token_accepted(old) is False
            assert parse_pairing(operated.run(pair).out).token == operated.token
        finally:
            thread.join(120)
            for follower in followers:
                follower.kill()


@pytest.mark.slow
def test_a_receiver_that_keeps_the_old_token_is_told(operated: Operated) -> None:
    with operated.receiver():
        said = operated.run(rotate_token, "--wait-minutes", "0.01")
    assert said.code == ExitCode.FAILED
    assert "the receiver was not seen to take it over" in said.err
    assert operated.token != TOKEN


@pytest.mark.slow
def test_without_an_instance_the_next_one_takes_it(operated: Operated) -> None:
    said = operated.run(rotate_token)
    assert said.code == ExitCode.OK
    assert "the next one takes it at boot" in said.out
    assert len(operated.token) == 40
