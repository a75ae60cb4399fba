"""lifeline.sh, run for real in a scratch root against a metadata service and a moto server."""

import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.support.scratch_instance import BUCKET, RUN_ID, SOURCES, ScratchInstance
from tests.support.scratch_instance import scratch as scratch
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

FAILED = SOURCES / "failed.sh"
STOP = (
    "systemctl stop ac-driver.service ac-training.service ac-receiver.service ac-tensorboard.service "
    "ac-dashboard.service"
)


def test_an_ending_saves_records_and_stops_the_costs(scratch: ScratchInstance) -> None:
    (scratch.run_folder / "ending").write_text('idle\nNo bridge for 45 min. Start again with "make start".\n')

    output = scratch.execute("lifeline.sh", "end")

    (record,) = scratch.endings()
    at = record.pop("at")
    assert abs(time.mktime(time.strptime(at, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - time.time()) < 60
    assert record == {
        "reason": "idle",
        "text": 'No bridge for 45 min. Start again with "make start".',
        "instance_id": scratch.metadata.instance_id,
        "run_id": RUN_ID,
        "desired_capacity": 0,
    }
    assert scratch.desired_capacity() == 0
    stops = [call for call in scratch.calls() if call.startswith("systemctl stop")]
    assert stops == [
        "systemctl stop ac-minute.timer ac-minute.service ac-token.path",
        STOP,
        "systemctl stop ac-farewell.service",
    ]
    assert scratch.calls()[-1] == "systemctl poweroff"
    assert scratch.logs() == ["lines after <>\n"]
    console = (scratch.root / "dev/console").read_text()
    assert "the instance ends (idle): No bridge for 45 min" in console
    assert scratch.metadata.secret_access_key not in output
    assert scratch.metadata.session_token not in output


def test_desired_capacity_is_asked_for_until_it_is_taken(scratch: ScratchInstance) -> None:
    scratch.write_settings(AC_PATIENCE_SECONDS="60")
    scratch.weather.fail("autoscaling POST", "503 Service Unavailable", count=2)
    scratch.weather.fail("autoscaling POST", "400 Bad Request", count=1)
    (scratch.run_folder / "ending").write_text("failed\nBroken.\n")

    output = scratch.execute("lifeline.sh", "end")

    assert scratch.desired_capacity() == 0
    assert output.count("did not take desired capacity 0 (503 MadeUpError)") == 2
    assert output.count("did not take desired capacity 0 (400 MadeUpError)") == 1


def test_an_instance_that_cannot_end_its_group_powers_off_all_the_same(scratch: ScratchInstance) -> None:
    scratch.weather.fail("autoscaling POST")
    (scratch.run_folder / "ending").write_text("failed\nBroken.\n")

    output = scratch.execute("lifeline.sh", "end")

    scratch.weather.clear()
    assert scratch.desired_capacity() == 1
    assert "did not take desired capacity 0 (403 MadeUpError)" in output
    assert scratch.calls()[-1] == "systemctl poweroff"
    assert [record["reason"] for record in scratch.endings()] == ["failed"]


def test_a_bucket_that_takes_nothing_does_not_keep_the_instance_alive(scratch: ScratchInstance) -> None:
    scratch.weather.fail("s3 PUT")
    (scratch.run_folder / "ending").write_text("failed\nBroken.\n")

    output = scratch.execute("lifeline.sh", "end")

    assert scratch.desired_capacity() == 0
    assert scratch.endings() == []
    assert "the log could not be stored (403 MadeUpError)" in output
    assert "attempt 4 of 4" in output


def test_an_ending_gets_into_a_bucket_that_was_away_for_a_moment(scratch: ScratchInstance) -> None:
    scratch.weather.fail("s3 PUT", "503 Service Unavailable", count=3)
    (scratch.run_folder / "ending").write_text("failed\nBroken.\n")

    scratch.execute("lifeline.sh", "end")

    assert [record["reason"] for record in scratch.endings()] == ["failed"]


def test_two_who_want_to_end_do_it_once(scratch: ScratchInstance) -> None:
    scratch.write_settings(AC_POWEROFF_SECONDS="3600")
    (scratch.run_folder / "ending").write_text("idle\nFirst.\n")
    with scratch.start("lifeline.sh", "end") as first:
        wait_until(lambda: scratch.desired_capacity() == 0, "the first one ends the instance", 30)
        with scratch.start("lifeline.sh", "end") as second:
            wait_until(lambda: _waits_for_a_lock(second.pid), "the second one waits")
            assert len(scratch.endings()) == 1
            os.killpg(second.pid, 9)
        os.killpg(first.pid, 9)
    assert len(scratch.endings()) == 1


def _waits_for_a_lock(session: int) -> bool:
    for entry in Path("/proc").iterdir():
        # Processes come and go while we look.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"flock"):
                return os.getsid(int(entry.name)) == session
    return False


def test_a_drain_records_how_long_saving_took_and_leaves_the_capacity(scratch: ScratchInstance) -> None:
    began = time.monotonic()
    scratch.notice(age_seconds=7)

    scratch.execute("lifeline.sh", "drain")

    took = time.monotonic() - began
    (record,) = scratch.endings()
    assert (record["reason"], record["desired_capacity"]) == ("interrupted", None)
    assert 7.0 <= record["seconds"] <= 8.0 + took
    assert "terminate at 2026-01-01T00:02:00Z" in record["text"]
    assert scratch.desired_capacity() == 1
    assert STOP in scratch.calls()
    assert len(scratch.logs()) == 1


def test_an_instance_that_ec2_leaves_running_after_its_notice_powers_off(scratch: ScratchInstance) -> None:
    scratch.notice()

    scratch.execute("lifeline.sh", "drain")

    assert scratch.calls()[-1] == "systemctl poweroff"


def test_a_clock_set_back_after_the_notice_spoils_no_record(scratch: ScratchInstance) -> None:
    scratch.notice(age_seconds=-3600)

    scratch.execute("lifeline.sh", "drain")

    assert scratch.endings()[0]["seconds"] == 0.0


def test_a_power_off_that_is_refused_is_tried_again_and_nothing_goes_on(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.put(f"runs/{RUN_ID}/DONE", b"")
    (scratch.root / "refused_poweroffs").write_text("x")

    scratch.execute("boot.sh")

    assert scratch.calls().count("systemctl poweroff") == 2
    assert not (scratch.root / "installed").exists()


def test_a_full_disk_does_not_hide_why_an_instance_ends(scratch: ScratchInstance) -> None:
    scratch.extra["TMPDIR"] = str(scratch.root / "no_room")
    (scratch.run_folder / "ending").write_text("failed\nThe disk is full.\n")

    scratch.execute("lifeline.sh", "end")

    assert [record["text"] for record in scratch.endings()] == ["The disk is full."]
    assert scratch.logs()
    assert {file.name for file in scratch.run_folder.iterdir()} == {"ending", "end.lock"}


@pytest.mark.parametrize(
    ("state", "ends"),
    [("activating", False), ("active", False), ("deactivating", False), ("failed", True), ("inactive", True)],
)
def test_a_unit_that_systemd_starts_again_has_not_failed_for_good(
    scratch: ScratchInstance, state: str, ends: bool
) -> None:
    (scratch.root / "unit_state").write_text(f"{state}\n")

    scratch.shell(f"MONITOR_UNIT=ac-training.service bash {FAILED}")

    assert (scratch.run_folder / "ending").exists() == ends


def test_an_instance_whose_costs_nobody_looks_at_ends(scratch: ScratchInstance) -> None:
    looked = 'life_ms; echo $((REPLY / 1000 - 100)) >"$AC_RUN/looked"'

    scratch.shell(f"{looked}; AC_OVERDUE_SECONDS=200 overdue")
    assert not (scratch.run_folder / "ending").exists()

    scratch.shell(f"{looked}; AC_OVERDUE_SECONDS=50 overdue")
    reason, text = (scratch.run_folder / "ending").read_text().splitlines()
    assert reason == "failed"
    assert text.startswith("For 50 s nobody has looked at what the instance costs")


def test_a_boot_that_hangs_before_the_first_look_ends(scratch: ScratchInstance) -> None:
    scratch.shell("AC_OVERDUE_SECONDS=0 overdue")

    assert (scratch.run_folder / "ending").exists()


def test_each_increment_of_the_journal_is_shipped_once(scratch: ScratchInstance) -> None:
    scratch.weather.fail("s3 PUT", count=1)

    scratch.shell("ship_logs; ship_logs; ship_logs")

    first, second = scratch.logs()
    assert first == "lines after <>\n"
    assert second.startswith("lines after <cursor-")


def test_a_failed_unit_asks_for_the_end_with_its_last_error(scratch: ScratchInstance) -> None:
    (scratch.root / "unit_log").write_text(
        'time=t level=error process=trainer event="The disk is full."\ntime=t level=info process=trainer event=bye\n'
    )
    monitor = "MONITOR_UNIT=ac-training.service MONITOR_SERVICE_RESULT=exit-code MONITOR_EXIT_CODE=exited"

    scratch.shell(f"{monitor} MONITOR_EXIT_STATUS=4 bash {FAILED}; MONITOR_UNIT=ac-receiver.service bash {FAILED}")

    reason, text = (scratch.run_folder / "ending").read_text().splitlines()
    assert reason == "failed"
    assert text == (
        "ac-training.service failed for good (exit-code, exited 4). "
        'The last error in its log: time=t level=error process=trainer event="The disk is full."'
    )


def test_a_unit_that_fails_while_ec2_takes_the_instance_back_ends_nothing(scratch: ScratchInstance) -> None:
    scratch.notice()

    scratch.shell(f"MONITOR_UNIT=ac-training.service bash {FAILED}")

    assert not (scratch.run_folder / "ending").exists()


@pytest.mark.parametrize(
    "text",
    [
        '"quotes" and \\back\\slashes\\',
        "a & b \\& c",
        "tab\there",
        "two\nlines",
        "Grüße",
        "bell\a",
        "",
        "$(id) `id` %s",
    ],
)
def test_any_text_survives_as_json(scratch: ScratchInstance, text: str) -> None:
    (scratch.root / "text").write_text(text)

    scratch.shell('text=$(cat "$AC_ROOT/text"); put_ending failed "$text" 0')

    (record,) = scratch.endings()
    assert record["text"] == text.replace("\t", " ").replace("\a", " ")


def test_bytes_that_are_no_text_do_not_spoil_the_record(scratch: ScratchInstance) -> None:
    scratch.shell("put_ending failed $'caf\\xe9 \\xff!' 0")

    assert scratch.endings()[0]["text"] == "caf !"


def test_credentials_are_asked_for_again_when_they_are_a_minute_old(scratch: ScratchInstance) -> None:
    scratch.shell("s3_status a; s3_status b; SIGNER_MS=$((SIGNER_MS - 61000)); s3_status c")

    asked = [request for request in scratch.imds.requests if "security-credentials/ac-training" in request]
    assert len(asked) == 2
    assert scratch.imds.requests.count("PUT /latest/api/token") == 1


def test_without_a_metadata_service_a_call_fails_with_the_reason(scratch: ScratchInstance) -> None:
    scratch.metadata.role = None

    done = scratch.shell('s3_status a || { refusal; echo "$STATUS $REPLY"; }')

    assert done.stdout == "000 the metadata service gives no credentials\n"


def test_a_metadata_service_that_stumbles_is_asked_again(scratch: ScratchInstance) -> None:
    scratch.imds.failures = 2

    assert scratch.shell("imds instance-id; echo $REPLY").stdout == f"{scratch.metadata.instance_id}\n"


def test_statuses_of_objects_are_told_apart(scratch: ScratchInstance) -> None:
    scratch.put("there", b"1")
    scratch.weather.fail("s3 HEAD", count=1)

    done = scratch.shell("for key in denied there absent; do s3_status $key; echo $? $STATUS; done")

    assert done.stdout.split("\n")[:3] == ["1 403", "0 200", "1 404"]


def test_a_file_that_was_not_fetched_leaves_nothing(scratch: ScratchInstance) -> None:
    done = scratch.shell(f"s3_get absent {scratch.root}/file; refusal; echo $REPLY")

    assert done.stdout == "404 NoSuchKey\n"
    assert not list(scratch.root.glob("file*"))


def test_keys_that_curl_and_s3_may_see_differently_are_refused(scratch: ScratchInstance) -> None:
    done = scratch.shell("s3_status 'a b?c'; echo $?")

    assert done.stdout == "1\n"
    assert scratch.weather.requests == []
    assert BUCKET not in done.stdout


def test_steps_are_counted_from_the_start_of_pid_1(scratch: ScratchInstance) -> None:
    scratch.shell("step one; step two")

    steps = dict(line.split("\t") for line in (scratch.var / "boot_steps").read_text().splitlines())
    ticks = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
    now = float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")
    assert list(steps) == ["one", "two"]
    assert now - 10 < float(steps["one"]) <= float(steps["two"]) <= now + 0.02


def test_nothing_secret_is_on_a_command_line(scratch: ScratchInstance) -> None:
    (scratch.root / "bin/curl").write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$*" >>"{scratch.root}/curls"\nexec {_real_curl()} "$@"\n'
    )
    (scratch.root / "bin/curl").chmod(0o755)

    scratch.shell("set_desired_zero; put_ending failed text 0")

    lines = (scratch.root / "curls").read_text()
    assert len(lines.splitlines()) >= 4
    metadata = scratch.metadata
    for secret in (metadata.access_key_id, metadata.secret_access_key, metadata.session_token):
        assert secret not in lines
    assert "X-aws-ec2-metadata-token:" not in lines
    assert scratch.endings()


def _real_curl() -> str:
    path = shutil.which("curl")
    assert path is not None
    return path
