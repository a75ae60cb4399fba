"""An instance makes itself ready to be found, and its replacement shows the same certificate."""

import json

import pytest

from tests.support.instance import InstanceSite
from tests.support.instance import site as site
from train_cloud.instance.clients import ParameterError, aws_client
from train_cloud.instance.metadata import Metadata
from train_cloud.instance.prepare import PrepareError, prepare
from train_cloud.receiver.tls import load_identity, pin_of
from train_cloud.run_config import load_run_config, parse_run_config
from wire.pairing import Pairing, format_pairing, parse_pairing


def prepared(site: InstanceSite, **changes: object) -> None:
    ssm = aws_client("ssm", "us-east-1")
    prepare(site.deployment(**changes), site.etc / "run.json", ssm, Metadata(), patience_seconds=0.0)


def test_the_first_instance_makes_the_identity_and_says_where_it_is(site: InstanceSite) -> None:
    prepared(site)
    identity = load_identity(site.folder, "x")
    assert pin_of(site.parameter("tls").encode()) == identity.pin
    assert (site.folder / "tls.pem").stat().st_mode & 0o777 == 0o600
    assert json.loads(site.parameter("endpoint")) == {
        "host": "198.51.100.7",
        "port": 8765,
        "pin": identity.pin,
        "instance_id": site.metadata.instance_id,
        "run_id": "run-1",
    }


def test_a_replacement_has_the_same_pin(site: InstanceSite) -> None:
    prepared(site)
    before = load_identity(site.folder, "x").pin
    for file in site.folder.iterdir():
        file.unlink()
    site.metadata.instance_id = "i-00000000000000002"
    prepared(site)
    assert load_identity(site.folder, "x").pin == before
    assert json.loads(site.parameter("endpoint"))["instance_id"] == "i-00000000000000002"


@pytest.mark.parametrize("rubbish", ["rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_an_identity_that_cannot_be_read_is_made_anew(site: InstanceSite, rubbish: str) -> None:
    site.put_parameter("tls", rubbish)
    prepared(site)
    assert pin_of(site.parameter("tls").encode()) == load_identity(site.folder, "x").pin


def test_with_a_changing_address_the_instance_tells_its_own(site: InstanceSite) -> None:
    site.metadata.public_ip = "203.0.113.9"
    prepared(site, endpoint_mode="ssm")
    assert load_run_config(site.folder / "run.json").public_host == "203.0.113.9"
    assert json.loads(site.parameter("endpoint"))["host"] == "203.0.113.9"


def test_where_home_has_ipv6_alone_the_instance_tells_its_address_of_that_kind(site: InstanceSite) -> None:
    site.metadata.ipv6 = "2600:1f18:aaaa:bb00::7"
    prepared(site, endpoint_mode="ssm", published_address="ipv6")
    endpoint = json.loads(site.parameter("endpoint"))
    assert endpoint["host"] == load_run_config(site.folder / "run.json").public_host == site.metadata.ipv6
    pairing = Pairing(endpoint["host"], endpoint["port"], "x" * 40, endpoint["pin"])
    assert format_pairing(pairing).startswith(f"wss://bridge:{'x' * 40}@[{site.metadata.ipv6}]:8765/pin-")
    assert parse_pairing(format_pairing(pairing)) == pairing


def test_an_instance_without_a_public_address_is_said(site: InstanceSite) -> None:
    site.metadata.public_ip = None
    with pytest.raises(PrepareError, match=r"knows no public-ipv4.*could not find this instance.*subnet"):
        prepared(site, endpoint_mode="ssm")


def test_terraforms_settings_stay_as_they_are(site: InstanceSite) -> None:
    prepared(site)
    assert load_run_config(site.folder / "run.json") == load_run_config(site.etc / "run.json")


def test_an_identity_is_never_used_before_it_is_kept(site: InstanceSite) -> None:
    site.down.add("ssm")
    with pytest.raises(ParameterError, match="/ac-test/tls could not be read"):
        prepared(site)
    assert not (site.folder / "tls.pem").exists()


def test_the_bucket_keeps_the_configuration_that_the_run_is_resumed_with(site: InstanceSite) -> None:
    prepared(site)
    assert parse_run_config(site.get("run.json")) == load_run_config(site.folder / "run.json")


def test_without_the_bucket_an_instance_can_be_found_all_the_same(site: InstanceSite) -> None:
    site.down.add("s3")
    prepared(site)
    assert "pin" in json.loads(site.parameter("endpoint"))
