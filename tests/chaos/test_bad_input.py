"""What is broken, hostile, full, silent or damaged is told in a clear sentence where it belongs, and harms nobody else.

The parts are tested where they live (tests/wire, tests/bridge, tests/train_cloud); here the real processes meet it,
while a well-behaved bridge is at work whose rows must all be there in the end, once and to the bit.
"""

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from racing.task import OBSERVATION_SIZE
from runtime.exit_codes import ExitCode
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import Client, blob, hello
from tests.support.runs import boxes
from tests.support.script import Script
from tests.support.site import BRIDGE, RECEIVER, TRAINER, Site, check_experience, check_rows
from tests.support.small_disk import SmallDisk
from tests.support.waiting import wait_until
from train_cloud.object_store import CALL_SECONDS
from train_cloud.run_folder.keys import LATEST, MODEL
from train_cloud.trainer.saving.manifest import Manifest
from wire.frames import encode_text
from wire.messages import MAX_UP_FRAME_BYTES, CloseCode, Error, ErrorCode, Transition, TransitionBatch
from wire.pairing import basic_auth_header, parse_pairing

__all__ = ["s3"]

pytestmark = [pytest.mark.slow]

SEED, CARS, TICKS = 1000, 2, 1200
SCRIPT = Script(SEED, CARS)
STREAMS = iter(f"{number:032x}" for number in range(1, 1000))


@pytest.fixture
def site(tmp_path: Path, s3: MotoS3) -> Iterator[Site]:
    with Site(tmp_path / "site", s3) as site:
        yield site


def begin(site: Site, hz: float, *, ticks: int = TICKS) -> None:
    """Receiver, trainer and bridge at work: the first rows are stored, the trainer has published."""
    site.start_receiver()
    site.start_trainer()
    site.wait_for_trainer()
    site.start_bridge(SEED, CARS, ticks, hz)
    wait_until(lambda: site.stored_steps() > 0, "the first rows arrive", 30)


def end(site: Site, *, ticks: int = TICKS) -> None:
    """Let all come to its end; everything must be there, once."""
    assert site.wait_for_end(BRIDGE, 90) == ExitCode.OK
    wait_until(lambda: site.consumed_steps() >= ticks * CARS, "the trainer takes everything in", 60)
    site.check_running(RECEIVER, TRAINER)
    assert site.terminate(TRAINER) == ExitCode.OK
    assert site.terminate(RECEIVER) == ExitCode.OK
    check_experience(site, SCRIPT, ticks)


def caller(site: Site, **changes: object) -> Client:
    """A connection straight to the receiver, with the right token unless `changes` says otherwise."""
    return Client(parse_pairing((site.instance / "pairing.txt").read_text()), **changes)  # type: ignore[arg-type]  # whatever Client takes


def refused_upgrade(site: Site, status: int, **changes: object) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        caller(site, **changes)
    assert refusal.value.response.status_code == status


def wrong_token(site: Site) -> None:
    refused_upgrade(site, 401, additional_headers={"Authorization": basic_auth_header("WrongTokenWrongToken")})


def wrong_protocol(site: Site) -> None:
    refused_upgrade(site, 400, subprotocols=[Subprotocol("ac-training.v0")])


def refused_hello(site: Site, **changes: object) -> None:
    with caller(site) as client:
        client.say(hello(site.config, next(STREAMS), "stranger", **changes))
        assert client.close_code() == CloseCode.REFUSED
        assert [said.code for said in client.heard if isinstance(said, Error)] == [ErrorCode.WRONG_SIGNATURE]


def other_observation_space(site: Site) -> None:
    refused_hello(site, spaces=boxes(7, 2).text)


def other_task(site: Site) -> None:
    refused_hello(site, signature="another task")


def refused_frame(site: Site, frame: bytes | TransitionBatch, code: ErrorCode | None, close: int) -> None:
    """Say Hello in order, then `frame`: the peer is told and let go."""
    with caller(site) as client:
        client.begin(hello(site.config, next(STREAMS), f"broken-{random.random()}"))
        client.blurt(frame)
        assert client.close_code() == close
        assert [said.code for said in client.heard if isinstance(said, Error)] == ([code] if code else [])


def random_bytes(site: Site) -> None:
    refused_frame(site, random.Random(SEED).randbytes(5000), ErrorCode.BAD_MESSAGE, CloseCode.INVALID_DATA)


def batch_of_random_bytes(site: Site) -> None:
    noise = random.Random(SEED).randbytes(5000)
    refused_frame(site, TransitionBatch(1, noise), ErrorCode.BAD_BATCH, CloseCode.INVALID_DATA)


def truncated_batch(site: Site) -> None:
    refused_frame(site, TransitionBatch(1, blob(1)[:-7]), ErrorCode.BAD_BATCH, CloseCode.INVALID_DATA)


def oversized_frame(site: Site) -> None:
    refused_frame(site, bytes(MAX_UP_FRAME_BYTES + 1), None, CloseCode.TOO_BIG)


def not_a_number(site: Site) -> None:
    with caller(site, text=True) as client:
        client.begin(hello(site.config, next(STREAMS), "text"))
        observation = [0.0] * OBSERVATION_SIZE
        step = Transition(1, observation, [0.0, 0.0], 1.0, observation, False, False)
        client.socket.send(str(encode_text(step)).replace('"reward":1.0', '"reward":1e999'))
        assert client.close_code() == CloseCode.INVALID_DATA


def out_of_order_and_repeated(site: Site) -> None:
    stream = next(STREAMS)
    with caller(site) as client:
        client.begin(hello(site.config, stream, "muddled"))
        client.say(TransitionBatch(5, blob(5)))
        assert client.hear(Error).code == ErrorCode.OUT_OF_ORDER
        client.store(1, 2)
        client.store(1, 2)
    assert [batch.number for batch in site.stored_batches() if batch.stream == stream] == [1, 2]


def raw_noise(site: Site) -> None:
    with socket.create_connection(site.proxy.target) as stranger, contextlib.suppress(ConnectionError):
        stranger.sendall(random.Random(SEED).randbytes(100_000))
        while stranger.recv(4096):
            pass


HOSTILE: tuple[Callable[[Site], None], ...] = (
    wrong_token,
    wrong_protocol,
    other_observation_space,
    other_task,
    random_bytes,
    batch_of_random_bytes,
    truncated_batch,
    oversized_frame,
    not_a_number,
    out_of_order_and_repeated,
    raw_noise,
)


def test_whatever_others_send_a_good_bridge_is_not_disturbed(site: Site) -> None:
    begin(site, hz=120)
    with socket.create_connection(site.proxy.target) as mute:  # connects, and says nothing for as long as it may
        for _ in range(4):
            for attack in HOSTILE:
                site.say(attack.__name__)
                attack(site)
        assert mute.fileno() >= 0
    assert site.wait_for_end(BRIDGE, 90) == ExitCode.OK
    check_rows(site, SCRIPT, TICKS)
    site.check_running(RECEIVER, TRAINER)
    assert site.log(BRIDGE).count("linked to the receiver") == 1, "the good bridge was never disconnected"
    assert "link is down" not in site.log(BRIDGE)
    for name in (RECEIVER, TRAINER):
        assert "Traceback" not in site.log(name)
        assert site.token not in site.log(name)


def test_a_full_disk_on_the_instance_loses_nothing(tmp_path: Path, s3: MotoS3) -> None:
    with Site(tmp_path / "site", s3) as site, SmallDisk(site.instance) as disk:
        begin(site, hz=200)
        disk.fill()
        site.say("the instance's disk is full")
        wait_until(lambda: "code=disk_full" in site.log(BRIDGE), "the bridge is told", 30)
        acknowledged = site.stored_steps()
        site.check_running(RECEIVER, TRAINER, BRIDGE)
        disk.empty()
        site.say("there is room again")
        assert site.stored_steps() >= acknowledged
        end(site)


def test_a_full_disk_on_the_pc_loses_nothing(tmp_path: Path, s3: MotoS3) -> None:
    with Site(tmp_path / "site", s3) as site, SmallDisk(site.spool) as disk:
        begin(site, hz=200)
        # While the link is up the spool makes room by forgetting what is safe.
        site.proxy.refuse()
        disk.fill()
        site.say("the PC's disk is full, the link is down")
        wait_until(lambda: "no room for experience" in site.log(BRIDGE), "the bridge says so", 30)
        site.check_running(RECEIVER, TRAINER, BRIDGE)
        disk.empty()
        site.proxy.resume()
        site.say("there is room again")
        end(site)
        assert "there is room again" in site.log(BRIDGE)


def test_receiving_and_learning_go_on_without_the_bucket(site: Site) -> None:
    """Half a minute stands for ten: longer than a call may take, and than the first pauses between calls."""
    begin(site, hz=50, ticks=2 * TICKS)
    for trouble, seconds in ((site.s3.fail, 6.0), (site.s3.hang, CALL_SECONDS + 7.0)):
        trouble()
        site.say(f"bucket: {trouble.__name__}")
        stored, consumed = site.stored_steps(), site.consumed_steps()
        until = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() > until, "the outage lasts", seconds + 5)  # noqa: B023 - called in this turn of the loop
        assert site.stored_steps() > stored
        assert site.consumed_steps() > consumed
    assert "backup failed, nothing was marked safe, trying again" in site.log(RECEIVER)
    assert "checkpoint not uploaded yet, training goes on" in site.log(TRAINER)
    site.s3.heal()
    site.say("bucket: heal")
    end(site, ticks=2 * TICKS)
    assert "backup works again" in site.log(RECEIVER)


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_it_taken(site: Site) -> None:
    begin(site, hz=400)
    assert site.wait_for_end(BRIDGE, 90) == ExitCode.OK
    wait_until(lambda: site.consumed_steps() == TICKS * CARS, "the trainer takes everything in", 60)
    assert site.terminate(TRAINER) == ExitCode.OK
    newest = msgspec.json.decode(site.objects.get(LATEST)[0], type=Manifest).folder + MODEL
    model, _ = site.objects.get(newest)
    site.objects.put(newest, model[:-1] + bytes([model[-1] ^ 1]))
    site.say(f"{newest} damaged")

    site.start_trainer()
    site.wait_for_trainer()
    assert "THE NEWEST CHECKPOINT IS DAMAGED" in site.log(TRAINER)
    end(site)
