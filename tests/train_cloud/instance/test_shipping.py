"""The log's way into the bucket: every line, in order, whatever fails on the way."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.instance import InstanceSite, put_program
from tests.support.instance import site as site
from tests.support.journal import Journal
from train_cloud.instance.clients import aws_client
from train_cloud.instance.journal import Entry
from train_cloud.instance.shipping import (
    BATCH_BYTES,
    CHUNK_BYTES,
    CHUNKS_AT_ONCE,
    EVENT_OVERHEAD_BYTES,
    EVENTS_IN_BATCH,
    event_batches,
    ship_log,
)

INSTANCE_ID = "i-0123456789abcdef0"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(tmp_path / "journal", monkeypatch)


class Shipper:
    """Ships as one instance does, tick by tick."""

    def __init__(self, site: InstanceSite) -> None:
        self.site, self.objects, self.shipped = site, site.deployment().objects, 0

    def ship(self, group: str = "") -> int:
        logs = aws_client("logs", "us-east-1") if group else None
        count = ship_log(self.objects, self.site.folder, INSTANCE_ID, self.shipped, logs, group)
        self.shipped += count
        return count

    def lines(self) -> list[str]:
        """Every line in the bucket, in the order of the keys."""
        texts = [gzip.decompress(self.site.get(key)).decode() for key in self.site.keys("logs/")]
        return [line for text in texts for line in text.splitlines()]

    def messages(self) -> list[str]:
        return [line.partition("ac-training[321]: ")[2] for line in self.lines()]


def test_each_look_ships_what_is_new(site: InstanceSite, journal: Journal) -> None:
    shipper = Shipper(site)
    journal.add("one", "two")
    assert shipper.ship() == 1
    assert shipper.ship() == 0
    journal.add("three")
    assert shipper.ship() == 1
    assert shipper.messages() == ["one", "two", "three"]
    moment = datetime.fromtimestamp(journal.began_us / 1e6 + 1.0, UTC).isoformat(timespec="milliseconds")
    assert shipper.lines()[0] == f"{moment} ip-10-0-0-10 ac-training[321]: one"


def test_an_outage_of_the_bucket_loses_no_line(site: InstanceSite, journal: Journal) -> None:
    shipper = Shipper(site)
    journal.add("one")
    shipper.ship()
    site.down.add("s3")
    journal.add("two")
    assert shipper.ship() == 0
    journal.add("three")
    assert shipper.ship() == 0
    site.down.clear()
    assert shipper.ship() == 1
    assert shipper.messages() == ["one", "two", "three"]


def test_the_cursor_is_one_that_journalctl_takes(site: InstanceSite, journal: Journal) -> None:
    journal.add("one", "two")
    Shipper(site).ship()
    assert (site.folder / "journal.cursor").read_text() == "s=5e0c;i=2\n"


def test_a_cursor_that_cannot_be_used_ships_everything_again(site: InstanceSite, journal: Journal) -> None:
    (site.folder / "journal.cursor").write_text("rubbish\n")
    journal.add("one", "two")
    shipper = Shipper(site)
    shipper.ship()
    assert shipper.messages() == ["one", "two"]
    assert shipper.ship() == 0


def test_a_flood_is_shipped_in_pieces_over_several_looks(site: InstanceSite, journal: Journal) -> None:
    many = [f"{number:06d} " + "x" * 60_000 for number in range(CHUNK_BYTES // 60_000 * (CHUNKS_AT_ONCE + 1))]
    journal.add(*many)
    shipper = Shipper(site)
    assert shipper.ship() == CHUNKS_AT_ONCE
    assert 1 <= shipper.ship() < CHUNKS_AT_ONCE
    assert shipper.messages() == many


def test_messages_of_every_kind_become_lines(site: InstanceSite, journal: Journal) -> None:
    journal.add("two\nlines", list(b"bytes \xff"), ["said", "twice"], None, "x" * 10**6)
    shipper = Shipper(site)
    shipper.ship()
    lines = shipper.lines()
    assert lines[1] == "    lines"
    assert [len(line) < 70_000 for line in lines] == [True] * 6
    assert shipper.messages()[2:5] == ["bytes \ufffd", "said twice", ""]


def test_without_a_journal_nothing_breaks(site: InstanceSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_program(tmp_path / "bin", "journalctl", "#!/bin/sh\necho no journal >&2\nexit 1\n", monkeypatch)
    assert Shipper(site).ship() == 0


def test_the_log_group_gets_the_lines_too(site: InstanceSite, journal: Journal) -> None:
    logs = site.aws.client("logs")
    logs.create_log_group(logGroupName="/ac-test")
    shipper = Shipper(site)
    journal.add("one")
    shipper.ship("/ac-test")
    journal.add("two")
    shipper.ship("/ac-test")
    events = logs.get_log_events(logGroupName="/ac-test", logStreamName=INSTANCE_ID)["events"]
    assert [event["message"].rpartition(" ")[2] for event in events] == ["one", "two"]


def test_a_missing_log_group_keeps_nothing_from_the_bucket(site: InstanceSite, journal: Journal) -> None:
    journal.add("one")
    shipper = Shipper(site)
    assert shipper.ship("/missing") == 1
    assert shipper.messages() == ["one"]


def test_batches_for_cloudwatch_keep_within_its_limits() -> None:
    day_us = 24 * 3600 * 10**6
    entries = [Entry("", day_us + number, "short") for number in range(EVENTS_IN_BATCH + 1)]
    entries += [Entry("", 2 * day_us + number, "x" * 60_000) for number in range(40)]
    # The clock was set back between two entries.
    entries.append(Entry("", 0, "early"))
    batches = list(event_batches(entries))
    assert sum(map(len, batches)) == len(entries)
    times = [event["timestamp"] for batch in batches for event in batch]
    assert times == sorted(times)
    for batch in batches:
        assert len(batch) <= EVENTS_IN_BATCH
        assert sum(len(event["message"]) + EVENT_OVERHEAD_BYTES for event in batch) <= BATCH_BYTES
        assert batch[-1]["timestamp"] - batch[0]["timestamp"] < 24 * 3600 * 1000
