"""What counts as use of an instance, asked of a real receiver, and how an idle one ends."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.instance import InstanceSite
from tests.support.instance import site as site
from tests.support.journal import Journal
from tests.support.receivers import TOKEN, Client, ReceiverProcess, hello, receiver_process
from train_cloud.instance.account import State
from train_cloud.instance.config import Deployment
from train_cloud.instance.limits import Activity, ask_receiver, idle_seconds
from train_cloud.instance.metadata import Metadata
from train_cloud.instance.minute import do_duties
from train_cloud.receiver.tls import load_identity
from train_cloud.run_config import RunConfig
from train_cloud.run_folder.states import Reason
from wire.messages import Drain


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(tmp_path / "journal", monkeypatch)


@pytest.mark.parametrize(
    ("story", "idle"),
    [
        ([(0, None), (600, None)], 600),
        ([(600, Activity(0, 0)), (660, Activity(0, 0))], 60),
        ([(600, Activity(0, 500)), (660, Activity(0, 500)), (720, Activity(0, 520)), (780, Activity(0, 520))], 60),
        ([(600, Activity(0, 0)), (660, Activity(1, 0)), (720, None), (780, None)], 120),
        ([(600, Activity(0, 0)), (5000, Activity(2, 0))], 0),
        ([(600, Activity(0, 0)), (660, Activity(1, 0)), (720, Activity(1, 0)), (5000, Activity(2, 0))], 4340),
        ([(600, Activity(0, 0)), (660, Activity(1, 0)), (720, Activity(0, 0)), (780, Activity(1, 0))], 120),
        ([(0, Activity(1, 9)), (60, Activity(0, 9)), (660, Activity(1, 9)), (720, Activity(1, 9))], 60),
        ([(600, Activity(1, 9, 5)), (660, Activity(1, 9, 6)), (720, Activity(1, 9, 6))], 60),
        ([(600, Activity(0, 9, 5)), (660, Activity(0, 9, 6)), (720, Activity(0, 9, 7))], 120),
    ],
    ids=[
        "never answered",
        "first answer begins the count",
        "stored more",
        "answers no more",
        "connected",
        "only connected",
        "comes and goes without driving",
        "comes again after it has driven",
        "waits for the trainer",
        "learns without a bridge",
    ],
)
def test_idle_is_the_time_since_somebody_used_the_receiver(
    story: list[tuple[float, Activity | None]], idle: float
) -> None:
    state = State()
    measured = [idle_seconds(state, life_s, activity) for life_s, activity in story]
    assert measured[-1] == idle


class RunningReceiver:
    """A real receiver with TLS on an instance's folder."""

    def __init__(self, site: InstanceSite, process: ReceiverProcess) -> None:
        self.process, self.pairing = process, process.pairing()
        (site.run_folder / "token").write_text(TOKEN)
        self._token = site.run_folder / "token"

    def ask(self, port: int | None = None, pem: Path | None = None) -> Activity | None:
        return ask_receiver(port or self.pairing.port, pem or self.process.folder / "tls.pem", self._token)


@pytest.fixture
def receiver(site: InstanceSite) -> Iterator[RunningReceiver]:
    bucket = site.deployment().run.bucket
    config = msgspec.structs.replace(
        site.deployment().run, bucket=bucket, listen_host="127.0.0.1", listen_port=0, public_host="127.0.0.1"
    )
    with receiver_process(config, site.folder) as process:
        yield RunningReceiver(site, process)


def bridge(receiver: RunningReceiver, config: RunConfig) -> Client:
    client = Client(receiver.pairing)
    client.begin(hello(config))
    return client


@pytest.mark.slow
def test_a_real_receiver_tells_bridges_and_steps_to_who_has_its_pin_and_token(
    site: InstanceSite, receiver: RunningReceiver, tmp_path: Path
) -> None:
    assert receiver.ask() == Activity(0, 0)
    with bridge(receiver, site.deployment().run) as client:
        client.store(1, 2)
        assert receiver.ask() == Activity(1, 40)
    (tmp_path / "other").mkdir()
    load_identity(tmp_path / "other", "127.0.0.1")
    assert receiver.ask(pem=tmp_path / "other/tls.pem") is None
    assert receiver.ask(port=1) is None


@pytest.mark.slow
def test_a_bridge_that_only_stays_is_warned_and_then_the_instance_ends(
    site: InstanceSite, receiver: RunningReceiver
) -> None:
    site.put_parameter("token", TOKEN)

    def looked(hours: float) -> Reason | None:
        deployment = site.deployment(idle_minutes=10)
        run = msgspec.structs.replace(deployment.run, listen_port=receiver.pairing.port)
        here = Deployment(deployment.config, run, site.folder, site.run_folder)
        do_duties(here, Metadata(), "first", hours * 3600.0)
        return Reason(site.ending()[0]) if site.ending() else None

    with bridge(receiver, site.deployment().run) as client:
        assert looked(5.0) is None
        client.store(1)
        assert looked(10.0) is None
        assert looked(10.1) is None
        told = client.hear(Drain).reason
        assert told.startswith("Nothing new was driven for 6 minutes")
        assert "idle_minutes is 10" in told
        client.store(2)
        assert looked(10.2) is None
        assert not (site.folder / "warning").exists()
        assert looked(10.36) is None
        assert client.hear(Drain).reason.startswith("Nothing new was driven for 10 minutes")
        assert looked(10.4) is Reason.IDLE
    assert "nothing new was driven" in site.ending()[1]
