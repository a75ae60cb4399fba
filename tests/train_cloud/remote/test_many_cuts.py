"""A link that is cut a thousand times: each step is done once, and each answer is that of its own call.

`make cuts` cuts it 10,000 times; AC_REMOTE_CUTS and AC_REMOTE_SEED choose how often and where.
"""

import os
import random
import secrets
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import counting_env
from tests.support.fault_proxy import FaultProxy
from tests.support.frame_counter import CountingProxy
from tests.support.remote_pc import ServedHere, receiver_here
from tests.support.waiting import wait_until
from train_cloud.remote.env import RemoteEnv

NAME = "tests.support.counting_env:Counting"
CUTS = int(os.environ.get("AC_REMOTE_CUTS", "1000"))
SEED = int(os.environ.get("AC_REMOTE_SEED", "11"))
SOME_FRAMES = 3000
"""Bytes; a call or an answer has about 120 of them, so that nearly every cut is inside of one."""


class Stepper:
    """Steps an environment of its own in a thread, and keeps what is not as it should be in `wrong`."""

    def __init__(self, calls: Path) -> None:
        self._calls, self.name = calls, secrets.token_hex(4)
        self.wrong: list[str] = []
        self.steps, self._enough = 0, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            env = RemoteEnv(self._calls, NAME, step_seconds=300.0, kwargs={"name": self.name})
            env.reset()
            while not self._enough.is_set():
                self.steps += 1
                seen = env.step(0)[0].tolist()
                if seen != [self.steps]:
                    self.wrong.append(f"step {self.steps} is answered by {seen}")
            env.close()
        except Exception as error:
            self.wrong.append(repr(error))

    def end(self) -> None:
        self._enough.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_over_a_thousand_cuts_no_step_is_doubled_lost_or_shifted(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A call that is cut while it is let in is made again after a pause, which a thousand of them need not wait for.
    monkeypatch.setattr("bridge.link.dialing.DIAL_INTERVAL_S", (0.05, 0.1))
    chance = random.Random(SEED)
    with (
        receiver_here(tmp_path_factory.mktemp("r")) as (receiver, calls),
        CountingProxy(("127.0.0.1", receiver.port)) as proxy,
    ):
        began = time.monotonic()
        pc = ServedHere(replace(receiver.pairing, port=proxy.port), [NAME], 4)
        steppers = [Stepper(calls) for _ in range(4)]
        cuts = 0
        while cuts < CUTS and all(one.alive for one in steppers):
            steps = sum(one.steps for one in steppers)
            cut_once(proxy, chance, steppers)
            # Those that hit a connection before its first call do not count.
            cuts += sum(one.steps for one in steppers) > steps
        for one in steppers:
            one.end()
        pc.end()
    assert [one.wrong for one in steppers] == [[], [], [], []]
    assert [counting_env.STEPS[one.name] for one in steppers] == [one.steps for one in steppers]
    assert cuts == CUTS
    # The rest fell between two messages, or into a greeting.
    assert min(proxy.torn["env_call"], proxy.torn["env_result"]) > CUTS / 5
    steps, seconds = sum(one.steps for one in steppers), time.monotonic() - began
    print(
        f"{cuts} cuts, {proxy.torn['env_call']} of them in a call and {proxy.torn['env_result']} in an answer, during "
        f"{steps} steps of 4 environments in {seconds:.0f} s (seed {SEED}): none doubled, lost or shifted"
    )


def cut_once(proxy: FaultProxy, chance: random.Random, steppers: list[Stepper]) -> None:
    """Cut the link somewhere in a call or an answer, and wait until it is dialled anew."""
    before = proxy.accepted
    proxy.cut_after(chance.randrange(1, SOME_FRAMES), upwards=chance.random() < 0.5)
    wait_until(lambda: proxy.accepted > before or not all(one.alive for one in steppers), "another connection", 60.0)
