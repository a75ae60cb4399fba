"""`make dashboard-link` prints a link that lets in, and nothing else, or says why there is none."""

import time

import msgspec

from runtime.exit_codes import ExitCode
from scripts.cloud.dashboard_link import dashboard_link
from tests.support.operated import DASHBOARD_TOKEN, Operated, operated
from train_cloud.dashboard_link import valid_until

__all__ = ["operated"]


def test_the_link_leads_to_the_instance_and_shows_no_token(operated: Operated) -> None:
    with operated.receiver() as running:
        said = operated.run(dashboard_link)
        assert said.code == ExitCode.OK
        place, slash, code = said.out.strip().rpartition("/")
        assert (place, slash) == (f"https://{running.pairing().host}:8766/link", "/")
        assert valid_until(DASHBOARD_TOKEN, code, time.time()) is not None
        assert DASHBOARD_TOKEN not in said.out + said.err
        pin = running.pairing().pin
        assert pin is not None
        assert pin[:2].upper() + ":" + pin[2:4].upper() in said.err
        tunnel = operated.run(dashboard_link, "--tunnel")
        assert tunnel.out.startswith("https://localhost:8766/link/")


def test_a_closed_port_is_told_with_the_way_through_the_tunnel(operated: Operated) -> None:
    closed = msgspec.structs.replace(operated.deployment, dashboard_open=False)
    operated.file.write_bytes(msgspec.json.encode(closed))
    with operated.receiver():
        said = operated.run(dashboard_link)
        assert (said.code, said.out) == (ExitCode.USAGE, "")
        assert "dashboard_tunnel_command" in said.err
        assert operated.run(dashboard_link, "--tunnel").code == ExitCode.OK


def test_without_an_instance_it_says_how_one_begins(operated: Operated) -> None:
    said = operated.run(dashboard_link)
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert "`make start` begins it." in said.err
