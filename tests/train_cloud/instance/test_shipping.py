"""The log's way into the bucket: every line, in order, whatever fails on the way."""

import gzip
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.instance import InstanceSite, put_program
from tests.support.instance import site as site
from tests.support.journal import Journal
from train_cloud.instance.shipping import (
    BATCH_BYTES,
    EVENT_OVERHEAD_BYTES,
    EVENTS_IN_BATCH,
    MAX_ENTRY_BYTES,
    event_batches,
    ship_log,
)

PIECE_BYTES = 2**25
"""PIECE_BYTES in lifeline.sh."""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    return Journal(tmp_path / "journal", monkeypatch)


class Shipper:
    """Ships as one instance does, minute by minute."""

    def __init__(self, site: InstanceSite, group: str | None = None) -> None:
        self.site, self.group = site, group

    def ship(self) -> int:
        """Ship once; how many objects that made."""
        before = len(self.site.keys("logs/"))
        ship_log(self.site.deployment(log_group=self.group), self.site.metadata.instance_id)
        assert list(self.site.run_folder.iterdir()) == []
        return len(self.site.keys("logs/")) - before

    def lines(self) -> list[bytes]:
        """Every line in the bucket, in the order of the keys."""
        pieces = [gzip.decompress(self.site.get(key)) for key in self.site.keys("logs/")]
        return [line for piece in pieces for line in piece.splitlines()]

    def messages(self) -> list[str]:
        """Their messages."""
        return [line.decode().partition("ac-training[321]: ")[2] for line in self.lines()]


def test_each_look_ships_what_is_new(site: InstanceSite, journal: Journal) -> None:
    shipper = Shipper(site)
    journal.add("one", "two")
    assert shipper.ship() == 1
    assert shipper.ship() == 0
    journal.add("three")
    assert shipper.ship() == 1
    assert shipper.messages() == ["one", "two", "three"]
    line = shipper.lines()[0].decode()
    assert line.endswith(" ip-10-0-0-10 ac-training[321]: one")
    assert datetime.fromisoformat(line.split()[0]).timestamp() == journal.began_us / 1e6 + 1.0


def test_an_outage_of_the_bucket_loses_no_line(site: InstanceSite, journal: Journal) -> None:
    shipper = Shipper(site)
    journal.add("one")
    shipper.ship()
    site.down.add("s3")
    journal.add("two")
    ship_log(site.deployment(), "i-1")
    journal.add("three")
    ship_log(site.deployment(), "i-1")
    site.down.clear()
    assert shipper.ship() == 1
    assert shipper.messages() == ["one", "two", "three"]


def test_a_cursor_that_cannot_be_used_ships_everything_again(site: InstanceSite, journal: Journal) -> None:
    (site.folder / "journal.cursor").write_text("rubbish\n")
    journal.add("one", "two")
    shipper = Shipper(site)
    shipper.ship()
    shipper.ship()
    assert shipper.messages() == ["one", "two"]
    assert shipper.ship() == 0


@pytest.mark.slow
@pytest.mark.parametrize("beyond", [5_000, 2_000_000], ids=["a little", "much"])
def test_a_flood_is_shipped_in_pieces_over_several_looks(site: InstanceSite, journal: Journal, beyond: int) -> None:
    """What is a little too long is in the pipe already when the reading stops: journalctl ends as if all were read."""
    length = 50_000
    many = [f"{number:06d} ".ljust(length, "x") for number in range((PIECE_BYTES + beyond) // (length + 64) + 1)]
    journal.add(*many)
    shipper = Shipper(site)
    assert shipper.ship() == 1
    assert many[-1] not in shipper.messages()
    assert shipper.ship() == 1
    assert shipper.ship() == 0
    whole = [message for message in shipper.messages() if len(message) == length]
    twice = [number for number, (one, next_one) in enumerate(pairwise(whole)) if one == next_one]
    assert len(twice) <= 1
    assert [message for number, message in enumerate(whole) if number not in twice] == many


def test_messages_of_every_kind_are_shipped(site: InstanceSite, journal: Journal) -> None:
    journal.add("two\n2 lines", list(b"bytes \xff"), "", "Grüße", "x" * 10**6)
    shipper = Shipper(site)
    shipper.ship()
    lines = shipper.lines()
    assert lines[1].strip() == b"2 lines"
    assert lines[2].endswith(b": bytes \xff")
    assert lines[4].endswith(": Grüße".encode())
    assert len(lines) == 6
    assert shipper.ship() == 0


def test_without_a_journal_nothing_breaks(site: InstanceSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_program(tmp_path / "bin", "journalctl", "#!/bin/sh\necho no journal >&2\nexit 1\n", monkeypatch)
    assert Shipper(site).ship() == 0


def test_the_log_group_gets_the_lines_too(site: InstanceSite, journal: Journal) -> None:
    logs = site.aws.client("logs")
    logs.create_log_group(logGroupName="/ac-test")
    shipper = Shipper(site, "/ac-test")
    journal.add("one")
    shipper.ship()
    journal.add("two", list(b"\xff"))
    shipper.ship()
    events = logs.get_log_events(logGroupName="/ac-test", logStreamName=site.metadata.instance_id)["events"]
    assert [event["message"].rpartition(" ")[2] for event in events] == ["one", "two", "\ufffd"]
    assert events[0]["timestamp"] == (journal.began_us + 1_000_000) // 1000


def test_what_the_bucket_does_not_take_comes_to_the_log_group_later(site: InstanceSite, journal: Journal) -> None:
    logs = site.aws.client("logs")
    logs.create_log_group(logGroupName="/ac-test")
    journal.add("one")
    site.down.add("s3")
    ship_log(site.deployment(log_group="/ac-test"), "i-1")
    assert logs.describe_log_streams(logGroupName="/ac-test")["logStreams"] == []
    site.down.clear()
    Shipper(site, "/ac-test").ship()
    assert len(logs.describe_log_streams(logGroupName="/ac-test")["logStreams"]) == 1


def test_a_missing_log_group_keeps_nothing_from_the_bucket(site: InstanceSite, journal: Journal) -> None:
    journal.add("one")
    shipper = Shipper(site, "/missing")
    assert shipper.ship() == 1
    assert shipper.messages() == ["one"]


def _line(at_us: int, message: str) -> str:
    moment = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f%z")
    return f"{moment} host program[1]: {message}\n"


def test_batches_for_cloudwatch_keep_within_its_limits() -> None:
    day_us = 24 * 3600 * 10**6
    lines = [_line(day_us + number, "short\n    and more") for number in range(EVENTS_IN_BATCH + 1)]
    lines += [_line(2 * day_us + number, "x" * 60_000) for number in range(40)]
    # The clock was set back between two entries.
    lines.append(_line(0, "early"))
    lines.append(_line(0, "x" * 10**6))
    batches = list(event_batches("-- Boot 0123 --\n" + "".join(lines) + "2026-01-0"))
    assert sum(map(len, batches)) == len(lines)
    times = [event["timestamp"] for batch in batches for event in batch]
    assert times == sorted(times)
    for batch in batches:
        assert len(batch) <= EVENTS_IN_BATCH
        assert sum(len(event["message"]) + EVENT_OVERHEAD_BYTES for event in batch) <= BATCH_BYTES
        assert batch[-1]["timestamp"] - batch[0]["timestamp"] < 24 * 3600 * 1000
        assert all(len(event["message"]) <= MAX_ENTRY_BYTES for event in batch)
