"""`make logs` shows an instance's newest lines from the bucket, whoever wrote them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud import logs as logs_module
from scripts.cloud import waiting
from scripts.cloud.logs import logs
from tests.support.game_pages import Moments
from tests.support.operated import Operated, operated

__all__ = ["operated"]

OLD, NEW = "i-0aaaaaaaaaaaaaaaa", "i-0bbbbbbbbbbbbbbbb"


def test_the_instance_that_wrote_last_is_shown_to_its_newest_lines(operated: Operated) -> None:
    operated.ship_log(NEW, "20261121T100000Z", "one", "two")
    operated.ship_log(NEW, "20261121T100100Z", "three", "four")
    operated.ship_log(OLD, "20261121T095900Z", "of another life")
    said = operated.run(logs)
    assert (said.code, said.out) == (ExitCode.OK, "one\ntwo\nthree\nfour\n")
    assert f"aws ssm start-session --region us-east-1 --target {NEW}" in said.err
    assert "journalctl -u ac-training -f" in said.err
    assert operated.run(logs, "--tail", "3").out == "two\nthree\nfour\n"
    assert operated.run(logs, "--instance", OLD).out == "of another life\n"


@pytest.mark.slow
def test_a_damaged_increment_hides_no_other(operated: Operated) -> None:
    operated.ship_log(NEW, "20261121T100000Z", "before")
    operated.objects.put(f"logs/{NEW}/20261121T100100Z-1.log.gz", b"\x1f\x8bcut")
    operated.ship_log(NEW, "20261121T100200Z", "after")
    shown = operated.run(logs).out.splitlines()
    assert (shown[0], shown[-1]) == ("before", "after")
    assert "is damaged" in shown[1]


def test_a_log_cannot_steer_the_terminal(operated: Operated) -> None:
    operated.ship_log(NEW, "20261121T100000Z", "name=\x1b]0;owned\x07 \u202eevil é")
    assert operated.run(logs).out == "name=?]0;owned? ?evil é\n"


@pytest.mark.slow
def test_nothing_to_show_is_a_sentence(operated: Operated) -> None:
    said = operated.run(logs)
    assert said.code == ExitCode.FAILED
    assert "No instance has written a log for the run lap-1 yet" in said.err
    instance_id = operated.launch()
    assert f"aws ec2 get-console-output --latest --output text --region us-east-1 --instance-id {instance_id}" in (
        operated.run(logs).err
    )
    operated.ship_log(NEW, "20261121T100000Z", "one")
    assert operated.run(logs, "--instance", "i-0").err == (
        f"The bucket has no log of i-0. Instances with logs: {NEW}.\n"
    )


@pytest.mark.slow
def test_following_shows_what_comes_once(operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks = Moments(), 10

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(slept) == looks // 2:
            operated.ship_log(NEW, "20261121T100100Z", "second")
        slept.append(seconds)

    slept: list[float] = []
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=clock, sleep=sleep))
    monkeypatch.setattr(logs_module, "FOLLOW_MINUTES", looks * logs_module.FOLLOW_SECONDS / 60.0)
    operated.ship_log(NEW, "20261121T100000Z", "first")
    assert operated.run(logs, "--follow").out == "first\nsecond\n"
    assert len(slept) == looks
