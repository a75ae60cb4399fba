"""A run that is kept in a plain folder: killed, taken over by another machine, and with its disk gone for a while."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from tests.support.experience import STREAM, incoming
from tests.support.kept_folder import KeptFolder
from tests.support.receivers import Client as Bridge
from tests.support.receivers import ReceiverProcess, blob, hello, receiver_process
from tests.support.runs import run_config
from tests.support.trainer_runs import Run
from tests.support.waiting import wait_until
from train_cloud.folder_store import HIDDEN
from train_cloud.run_config import BucketConfig, RunConfig
from train_cloud.store import Store
from wire.messages import Ack

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "work").mkdir()
    run = Run(tmp_path / "work", KeptFolder(tmp_path / "kept"))
    yield run
    run.close()


def test_a_stopped_run_goes_on_from_its_checkpoint(run: Run, tmp_path: Path) -> None:
    run.store.add_batches(incoming(range(1, 11)))
    ending = run.start(run.config())
    wait_until(lambda: run.trained() == 200, "half of the run is learned", 30)
    run.stop.set()
    assert ending.result(300) == ExitCode.OK
    stopped = run.counters()
    assert (stopped.steps, stopped.updates, stopped.consumed, stopped.resumes) == (200, 50, {STREAM: 10}, 0)
    assert (tmp_path / "kept" / "runs" / "test-run" / "checkpoints" / "LATEST").is_file()

    run.store.add_batches(incoming(range(1, 21)))
    assert run.start(run.config()).result(300) == ExitCode.OK
    done = run.counters()
    assert (done.steps, done.updates, done.laps, done.resumes) == (400, 150, 20, 1)
    assert run.metrics()["state"] == "done"
    assert run.objects.find("DONE") is not None
    assert [path.name for path in (tmp_path / "kept").iterdir() if path.name != "runs"] == [HIDDEN]


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Of a run whose folder nobody has made."""
    changes = {"run_id": "process-test", "listen_host": "127.0.0.1", "listen_port": 0, "segment_seconds": 0.2}
    return msgspec.structs.replace(run_config(**changes), bucket=BucketConfig(folder=str(tmp_path / "kept")))


def stored(receiver: ReceiverProcess) -> list[tuple[int, bytes]]:
    store = Store(receiver.store_file)
    rows = [(row.number, row.blob) for row in store.read_batches(0, 10**6)]
    store.close()
    return rows


def test_a_machine_that_died_without_notice_is_replaced_from_the_folder(config: RunConfig, tmp_path: Path) -> None:
    with receiver_process(config, tmp_path / "first") as first, Bridge(first.pairing()) as bridge:
        assert "the run's folder is new" in first.log_text()
        bridge.begin(hello(config))
        bridge.store(1, 2, 3)
        bridge.hear(Ack, lambda ack: ack.safe_through == 3)
        first.kill()
    with receiver_process(config, tmp_path / "second") as second, Bridge(second.pairing()) as bridge:
        welcome = bridge.begin(hello(config, last_number=3))
        assert (welcome.stored_through, welcome.safe_through) == (3, 3)
        bridge.store(4, 5)
        second.terminate()
        assert stored(second) == [(number, blob(number)) for number in range(1, 6)]


def test_while_its_disk_is_gone_nothing_is_called_safe_and_nothing_begins_anew(
    config: RunConfig, tmp_path: Path
) -> None:
    kept, elsewhere = tmp_path / "kept", tmp_path / "elsewhere"
    with receiver_process(config, tmp_path / "work") as receiver, Bridge(receiver.pairing()) as bridge:
        bridge.begin(hello(config))
        bridge.store(1)
        bridge.hear(Ack, lambda ack: ack.safe_through == 1)
        receiver.kill()
    kept.rename(elsewhere)
    kept.mkdir()
    with receiver_process(config, tmp_path / "work") as receiver, Bridge(receiver.pairing()) as bridge:
        bridge.begin(hello(config, last_number=1))
        bridge.store(2)
        wait_until(lambda: "Mount its disk" in receiver.log_text(), "it is told", 30)
        assert list(kept.iterdir()) == []
        kept.rmdir()
        elsewhere.rename(kept)
        bridge.hear(Ack, lambda ack: ack.safe_through == 2)
        receiver.terminate()
