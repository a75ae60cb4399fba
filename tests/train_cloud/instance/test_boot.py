"""boot.sh, run for real in a scratch root: the good way, and each way in which a boot may fail."""

import base64
import gzip
import os
import signal

import pytest

from tests.support.scratch_instance import BUCKET, CODE, RUN_ID, ScratchInstance
from tests.support.scratch_instance import scratch as scratch
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_a_boot_claims_probes_counts_fetches_and_hands_over(scratch: ScratchInstance) -> None:
    ec2 = scratch.aws.client("ec2")
    address = ec2.allocate_address(Domain="vpc")
    scratch.write_settings(AC_ALLOCATION=address["AllocationId"])
    files = scratch.upload_code()

    scratch.execute("boot.sh")

    (claimed,) = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"]
    assert claimed["InstanceId"] == scratch.metadata.instance_id
    assert f"runs/{RUN_ID}/logs/{scratch.metadata.instance_id}/probe" in scratch.object_keys()
    assert scratch.get(f"runs/{RUN_ID}/launches") == b"1\n"
    for path, data in files.items():
        assert (scratch.opt / "code" / path).read_bytes() == data
    assert (scratch.root / "installed").read_text() == "installed at step code\n"
    steps = [line.split("\t")[0] for line in (scratch.var / "boot_steps").read_text().splitlines()]
    assert steps == ["boot", "address", "bucket", "done_check", "code"]
    assert scratch.endings() == []
    assert scratch.desired_capacity() == 1
    assert scratch.weather.requests[0] == "ec2 POST /", "the address comes before any download"
    assert scratch.run_folder.stat().st_mode & 0o777 == 0o700


def test_a_second_boot_of_the_same_instance_is_one_launch(scratch: ScratchInstance) -> None:
    scratch.upload_code()

    scratch.execute("boot.sh")
    scratch.execute("boot.sh")

    assert scratch.get(f"runs/{RUN_ID}/launches") == b"1\n"
    assert scratch.endings() == []


def test_a_run_that_is_done_is_not_begun_again(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.put(f"runs/{RUN_ID}/DONE", b"")

    scratch.execute("boot.sh")

    assert [record["reason"] for record in scratch.endings()] == ["finished"]
    assert scratch.desired_capacity() == 0
    assert not (scratch.root / "installed").exists()


@pytest.mark.parametrize(("asked_for", "begins"), [(400, False), (399, False), (401, True)])
def test_a_finished_run_goes_on_when_more_steps_are_asked_for(
    scratch: ScratchInstance, asked_for: int, begins: bool
) -> None:
    scratch.upload_code()
    scratch.put(f"runs/{RUN_ID}/DONE", b'{\n  "steps": 410,\n  "total_timesteps": 400\n}')
    (scratch.etc / "run.json").write_text(f'{{"run_id":"x","total_timesteps":{asked_for},"seed":7}}')

    scratch.execute("boot.sh")

    assert (scratch.root / "installed").exists() is begins
    assert [record["reason"] for record in scratch.endings()] == ([] if begins else ["finished"])


def test_a_launch_too_many_ends_with_that_reason(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.put(f"runs/{RUN_ID}/launches", b"3\n")

    scratch.execute("boot.sh")

    (record,) = scratch.endings()
    assert record["reason"] == "over_launches"
    assert record["text"].startswith("This would be launch 4 of the run and max_launches is 3.")
    assert scratch.desired_capacity() == 0
    assert scratch.get(f"runs/{RUN_ID}/launches") == b"3\n"


def test_the_replacements_of_an_instance_that_cannot_end_its_group_are_counted(scratch: ScratchInstance) -> None:
    scratch.weather.fail("autoscaling POST")
    scratch.upload_code("exit 1\n")

    for _ in range(4):
        scratch.execute("boot.sh")
        # Each time another machine, whose memory is empty.
        for file in scratch.run_folder.iterdir():
            file.unlink()

    scratch.weather.clear()
    assert [record["reason"] for record in scratch.endings()].count("over_launches") == 1
    assert scratch.calls().count("systemctl poweroff") == 4
    assert scratch.desired_capacity() == 1


def test_a_boot_without_its_lifeline_powers_the_instance_off(scratch: ScratchInstance) -> None:
    (scratch.library / "lifeline.sh").write_text("} broken\n")
    scratch.extra["AC_PATIENCE_SECONDS"] = "0"

    output = scratch.execute("boot.sh")

    assert "boot.sh cannot read lifeline.sh or boot.env" in output
    assert scratch.calls() == ["systemctl poweroff"]


def test_a_fresh_role_and_a_slow_network_are_waited_for(scratch: ScratchInstance) -> None:
    scratch.write_settings(AC_PATIENCE_SECONDS="30")
    scratch.upload_code()
    scratch.weather.fail("s3 PUT", "403 Forbidden", count=1)
    scratch.weather.fail("s3 HEAD", "503 Service Unavailable", count=1)
    scratch.weather.fail("runtime/logs.py", "503 Slow Down", count=1)
    scratch.imds.failures = 1

    scratch.execute("boot.sh")

    assert (scratch.root / "installed").exists()
    assert scratch.endings() == []


def _failure(scratch: ScratchInstance) -> str:
    output = scratch.execute("boot.sh")
    endings = scratch.endings()
    assert [record["reason"] for record in endings] == ["failed"], output
    assert scratch.desired_capacity() == 0
    assert scratch.logs(), "the log is in the bucket"
    assert not (scratch.root / "installed").exists()
    return str(endings[0]["text"])


def test_a_missing_object_is_named(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.aws.client("s3").delete_object(Bucket="ac-scratch-bucket", Key=f"code/{CODE}/runtime/logs.py")

    text = _failure(scratch)

    assert f"code/{CODE}/runtime/logs.py is missing from the bucket ac-scratch-bucket. Run terraform apply" in text
    assert text.startswith("The boot failed after the step done_check:")


def test_a_missing_manifest_is_named(scratch: ScratchInstance) -> None:
    assert f"code/{CODE}/MANIFEST is missing from the bucket" in _failure(scratch)


@pytest.mark.parametrize("line", ["", f"{'a' * 64}  ../evil\n", f"{'a' * 64}  a/../../evil\n", "nonsense\n"])
def test_a_manifest_that_is_none_is_refused(scratch: ScratchInstance, line: str) -> None:
    scratch.put(f"code/{CODE}/MANIFEST", line.encode())

    assert "is no list of files" in _failure(scratch)


def test_a_file_that_was_changed_is_refused(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.put(f"code/{CODE}/runtime/logs.py", b"evil")

    assert "are not what its MANIFEST says" in _failure(scratch)


def test_a_bucket_that_denies_writes_under_the_run_is_found_at_boot(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.weather.fail("/probe")

    text = _failure(scratch)

    assert "S3 refuses to store under s3://ac-scratch-bucket/runs/run-1/. The training would be lost." in text
    assert "the last answer: 403 MadeUpError" in text


def test_a_bucket_that_denies_everything_still_costs_nothing(scratch: ScratchInstance) -> None:
    scratch.weather.fail("s3 ")

    output = scratch.execute("boot.sh")

    assert scratch.desired_capacity() == 0
    assert "S3 refuses to store" in (scratch.root / "dev/console").read_text()
    assert "the log could not be stored (403 MadeUpError)" in output


def test_a_denied_done_check_is_told(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.weather.fail(f"GET /{BUCKET}/runs/{RUN_ID}/DONE")

    text = _failure(scratch)

    assert "S3 does not tell whether the run is done. (tried for 1 s, the last answer: 403 MadeUpError)" in text


def test_an_address_that_cannot_be_claimed_is_told(scratch: ScratchInstance) -> None:
    scratch.write_settings(AC_ALLOCATION="eipalloc-0123456789abcdef0")

    text = _failure(scratch)

    assert "The Elastic IP eipalloc-0123456789abcdef0 cannot be claimed." in text
    assert "InvalidAllocationID.NotFound" in text


def test_a_spoiled_count_of_launches_is_told(scratch: ScratchInstance) -> None:
    scratch.put(f"runs/{RUN_ID}/launches", b"many")

    assert "holds no number" in _failure(scratch)


@pytest.mark.parametrize(
    ("install", "expected"),
    [
        ("false\n", "exit status 1 at line 1 of install.sh: false"),
        ('broken() {\n  ls "$AC_ROOT/nowhere"\n}\nbroken\n', 'at line 2 of install.sh: ls "$AC_ROOT/nowhere"'),
        ("echo $NOT_SET\n", "exit status 1"),
        ("exit 7\n", "exit status 7"),
        ("fail 'GPU not seen.'\n", "GPU not seen."),
        ("false | cat\n", "line 1 of install.sh: cat"),
        ("if\n", "exit status"),
    ],
)
def test_whatever_fails_later_ends_the_instance(scratch: ScratchInstance, install: str, expected: str) -> None:
    scratch.upload_code(install)

    text = _failure(scratch)

    assert text.startswith("The boot failed after the step code: ")
    assert expected in text


def test_a_boot_that_is_taken_back_is_no_failure(scratch: ScratchInstance) -> None:
    scratch.upload_code()
    scratch.metadata.give_notice()
    scratch.weather.fail("MANIFEST")

    scratch.execute("boot.sh")

    assert scratch.endings() == []
    assert scratch.desired_capacity() == 1


def test_a_boot_that_fails_after_a_notice_is_no_failure(scratch: ScratchInstance) -> None:
    scratch.upload_code('printf "terminate\\nsoon\\n" >"$AC_RUN/notice"\nfalse\n')

    scratch.execute("boot.sh")

    assert scratch.endings() == []
    assert scratch.desired_capacity() == 1


@pytest.mark.parametrize(("state", "capacity"), [("stopping", 1), ("running", 0)])
def test_a_shutdown_is_no_failure_but_a_killed_boot_is(scratch: ScratchInstance, state: str, capacity: int) -> None:
    scratch.upload_code('sleep 60 &>/dev/null &\ntouch "$AC_ROOT/installed"\nwait\n')
    with scratch.start("boot.sh") as process:
        wait_until((scratch.root / "installed").exists, "the boot reaches install.sh", 30)
        (scratch.root / "system_state").write_text(f"{state}\n")
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=120)

    assert scratch.desired_capacity() == capacity
    assert [record["reason"] for record in scratch.endings()] == ([] if capacity else ["failed"])


def test_boot_and_lifeline_fit_into_user_data(scratch: ScratchInstance) -> None:
    text = b"".join((scratch.library / name).read_bytes() for name in ("boot.sh", "lifeline.sh"))

    assert len(base64.b64encode(gzip.compress(text, 9))) < 11_500, "user_data holds 16384, with two JSON files"
