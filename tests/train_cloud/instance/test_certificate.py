"""The certificate of a domain name, from a real ACME server that asks the zone of a made-up Route 53 for the proof."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.acme_server import ZoneServer, pebble
from tests.support.authority import Authority, Certified
from tests.support.instance import InstanceSite
from tests.support.instance import site as site
from train_cloud.instance.certificate import Kept, renew_certificate
from train_cloud.instance.clients import aws_client
from train_cloud.instance.config import load_deployment
from train_cloud.instance.metadata import Metadata
from train_cloud.instance.prepare import prepare
from train_cloud.named_certificate import NamedCertificate
from train_cloud.receiver.tls import load_identity
from train_cloud.run_config import load_run_config
from train_cloud.settings import ConfigError

DOMAIN = "racing.example.org"
NOBODY = "https://127.0.0.1:9/dir"


@dataclass
class Named:
    """An instance with a domain name: its site, its zone and who answers for it."""

    site: InstanceSite
    authority: Authority
    zone_id: str
    names: ZoneServer
    changes: dict[str, object] = field(default_factory=dict)

    def prepare(self, directory: str) -> dict[str, Any]:
        """What an instance does at its boot; the endpoint that it publishes."""
        self.changes = {
            "certificate_parameter": "/ac-test/certificate",
            "route53_zone_id": self.zone_id,
            "acme_directory": directory,
        }
        deployment = self.site.deployment(**self.changes)
        run = self.site.etc / "run.json"
        settings = json.loads(run.read_bytes()) | {"public_host": DOMAIN}
        run.write_text(json.dumps(settings))
        deployment = load_deployment(self.site.etc / "instance.json", self.site.folder, self.site.run_folder)
        prepare(deployment, run, aws_client("ssm", "us-east-1"), Metadata(), patience_seconds=0.0)
        found: dict[str, Any] = json.loads(self.site.parameter("endpoint"))
        return found

    def renew(self) -> None:
        """What the timer does later."""
        here = load_deployment(self.site.etc / "instance.json", self.site.folder, self.site.run_folder)
        renew_certificate(here, aws_client("ssm", "us-east-1"), patience_seconds=0.0)

    def kept(self) -> Kept:
        return msgspec.json.decode(self.site.parameter("certificate"), type=Kept)

    def keep(self, certified: Certified, directory: str, account_key: str = "") -> None:
        """As if an instance had once got this certificate."""
        account = account_key or certified.key().decode()
        kept = Kept(DOMAIN, directory, account, certified.key().decode(), certified.chain.decode())
        self.site.put_parameter("certificate", msgspec.json.encode(kept).decode())

    def shown(self) -> str:
        """The chain that the receiver would show, by the instance's run.json; it takes no other."""
        run = load_run_config(self.site.folder / "run.json")
        assert run.tls_certificate is not None
        assert run.tls_key is not None
        NamedCertificate(Path(run.tls_certificate), Path(run.tls_key), DOMAIN)
        return Path(run.tls_certificate).read_text(encoding="utf-8")

    def texts(self) -> list[str]:
        """Names of the TXT records that are in the zone now."""
        route53 = self.site.aws.client("route53")
        records = route53.list_resource_record_sets(HostedZoneId=self.zone_id)["ResourceRecordSets"]
        return [one["Name"] for one in records if one["Type"] == "TXT"]


def new_zone(site: InstanceSite, name: str) -> str:
    """The id of a new zone in the made-up Route 53."""
    made = site.aws.client("route53").create_hosted_zone(Name=name, CallerReference=name)
    return str(made["HostedZone"]["Id"]).rpartition("/")[2]


@pytest.fixture
def named(site: InstanceSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Named]:
    site.put_parameter("certificate", "unset")
    site.put_parameter("endpoint", "unset", secret=False)
    zone_id = new_zone(site, "example.org")
    authority = Authority(tmp_path)
    # requests' variable: the library asks it, not OpenSSL, whom to trust.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.pem))
    names = ZoneServer(site.aws.client("route53"), zone_id)
    yield Named(site, authority, zone_id, names)
    names.close()


@pytest.mark.slow
def test_it_is_ordered_once_kept_over_replacements_and_renewed_in_time(named: Named, tmp_path: Path) -> None:
    with pebble(tmp_path / "pebble", named.authority, named.names.address) as directory:
        endpoint = named.prepare(directory)
        assert (endpoint["host"], endpoint["pin"]) == (DOMAIN, None)
        first = named.kept()
        assert named.shown() == first.chain
        assert first.chain.count("BEGIN CERTIFICATE") >= 2
        assert set(named.names.asked) == {f"_acme-challenge.{DOMAIN}"}
        assert named.texts() == []
        key = named.site.folder / "certificate_key.pem"
        assert key.stat().st_mode & 0o777 == 0o640
    # The authority is away: a replacement needs it no more, nor does the timer.
    for file in named.site.folder.iterdir():
        file.unlink()
    assert named.prepare(directory)["pin"] is None
    named.renew()
    assert named.kept() == first
    assert named.shown() == first.chain

    with pebble(tmp_path / "again", named.authority, named.names.address, refused=20) as directory:
        old = named.authority.certify(DOMAIN, days=(-80, 10))
        named.keep(old, directory, first.account_key)
        named.changes["acme_directory"] = directory
        named.site.write_settings(**named.changes)
        named.renew()
        renewed = named.kept()
        assert renewed.account_key == first.account_key
        assert renewed.chain not in (first.chain, old.chain.decode())
        assert named.shown() == renewed.chain
        named.renew()
        assert named.kept() == renewed


@pytest.mark.slow
def test_without_an_authority_the_own_certificate_is_pinned_until_there_is_one(
    named: Named, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = named.prepare(NOBODY)
    pin = load_identity(named.site.folder, DOMAIN).pin
    assert (endpoint["host"], endpoint["pin"]) == (DOMAIN, pin)
    assert load_run_config(named.site.folder / "run.json").tls_certificate is None
    assert "no new certificate for the name" in caplog.text
    assert "PRIVATE" not in caplog.text
    with pebble(tmp_path / "pebble", named.authority, named.names.address) as directory:
        named.changes["acme_directory"] = directory
        named.site.write_settings(**named.changes)
        named.renew()
        assert "`make stop`" in caplog.text
        # Who is paired stays so, over replacements too, until the owner stops and starts the run.
        assert json.loads(named.site.parameter("endpoint")) == endpoint
        assert load_run_config(named.site.folder / "run.json").tls_certificate is None
    assert named.prepare(NOBODY)["pin"] == pin
    assert load_run_config(named.site.folder / "run.json").tls_certificate is None
    named.site.put_parameter("endpoint", "unset", secret=False)
    assert named.prepare(NOBODY)["pin"] is None


@pytest.mark.parametrize(("days", "used"), [((-80, 10), True), ((-90, -1), False)])
def test_an_authority_that_fails_costs_no_certificate_that_is_valid(
    named: Named, days: tuple[float, float], used: bool, caplog: pytest.LogCaptureFixture
) -> None:
    kept = named.authority.certify(DOMAIN, days=days)
    named.keep(kept, NOBODY)
    assert (named.prepare(NOBODY)["pin"] is None) == used
    if used:
        assert named.shown() == kept.chain.decode()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert NOBODY in str(vars(errors[0]))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["nonces", "no proof", "another zone", "rubbish is kept"])
def test_what_stands_against_it_is_said(
    named: Named, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = {
        "nonces": "badNonce",
        "no proof": f"did not find _acme-challenge.{DOMAIN} as it should be",
        "another zone": "Is route53_zone_id the zone of this name, and of this account?",
        "rubbish is kept": "the parameter holds no certificate",
    }[fault]
    other = new_zone(named.site, "example.net")
    elsewhere = ZoneServer(named.site.aws.client("route53"), other)
    names = elsewhere if fault == "no proof" else named.names
    if fault == "rubbish is kept":
        named.site.put_parameter("certificate", '{"name": "rubbish"}')
    with pebble(
        tmp_path / "pebble", named.authority, names.address, refused=100 if fault == "nonces" else 0
    ) as directory:
        zone_id = "ZNOBODYS" if fault == "another zone" else named.zone_id
        pin = Named(named.site, named.authority, zone_id, names).prepare(directory)["pin"]
    assert (pin is None) == (fault == "rubbish is kept")
    assert said in "\n".join(str(vars(record)) for record in caplog.records)
    assert named.texts() == []
    elsewhere.close()


def test_without_a_zone_nobody_is_asked(site: InstanceSite) -> None:
    site.down.add("route53")
    prepare(site.deployment(), site.etc / "run.json", aws_client("ssm", "us-east-1"), Metadata(), patience_seconds=0.0)
    assert json.loads(site.parameter("endpoint"))["pin"] is not None
    with pytest.raises(ConfigError, match="only one of `certificate_parameter` and `route53_zone_id`"):
        site.deployment(route53_zone_id="Z0123")
