"""The commands as the units call them: processes with exit codes, and logs without secrets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from tests.support.instance import TOKEN, InstanceSite
from tests.support.instance import site as site
from train_cloud.store import Store


def run(site: InstanceSite, command: str, *arguments: object, **environment: str) -> tuple[int, str]:
    """Exit code and log of one command."""
    places = {"--config": site.etc / "instance.json", "--folder": site.folder, "--run-folder": site.run_folder}
    words = [word for pair in places.items() for word in map(str, pair)]
    ended = subprocess.run(
        [sys.executable, "-m", "train_cloud.instance", command, *words, *map(str, arguments)],
        env=os.environ | {"AC_PATIENCE_SECONDS": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.mark.slow
def test_an_instance_is_made_ready_and_looks_at_its_budget(site: InstanceSite) -> None:
    logs = []
    for command in ("secrets", "prepare", "minute"):
        code, log = run(site, command)
        assert code == ExitCode.OK, log
        logs.append(log)
    key = next(line for line in (site.folder / "tls.pem").read_text().splitlines() if "-----" not in line)
    assert not any(secret in log for log in logs for secret in (TOKEN, key))
    assert "spend_usd=" in logs[2]
    record = json.loads(site.get(f"lives/{site.metadata.instance_id}.json"))
    assert record["hours"] > 0


@pytest.mark.slow
def test_the_last_account_is_written_and_decides_nothing(site: InstanceSite) -> None:
    site.write_settings(budget_usd=1e-9)
    code, log = run(site, "account")
    assert code == ExitCode.OK, log
    record = json.loads(site.get(f"lives/{site.metadata.instance_id}.json"))
    assert record["hours"] > 0
    assert site.ending() == []


def test_wrong_settings_are_a_usage_error(site: InstanceSite) -> None:
    (site.etc / "instance.json").write_text("{}")
    code, log = run(site, "minute")
    assert code == ExitCode.USAGE
    assert "is missing" in log


def test_a_missing_token_fails_with_its_sentence(site: InstanceSite) -> None:
    site.put_parameter("token", "unset")
    code, log = run(site, "secrets")
    assert code == ExitCode.FAILED
    assert "make rotate-token" in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_bucket_that_is_silent_has_an_exit_code_of_its_own(site: InstanceSite) -> None:
    site.down.add("s3")
    assert run(site, "finished")[0] == ExitCode.STORAGE


@pytest.mark.slow
def test_a_checkpoint_is_asked_for_once_there_is_a_store(site: InstanceSite) -> None:
    assert run(site, "checkpoint")[0] == ExitCode.OK
    assert not (site.folder / "store.db").exists()
    store = Store(site.folder / "store.db")
    assert run(site, "checkpoint")[0] == ExitCode.OK
    assert store.checkpoint_requests() == 1
    store.close()


@pytest.mark.slow
def test_an_environment_is_stored_under_its_key(site: InstanceSite, tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env/file").write_text("content")
    code, log = run(site, "store-environment", "--environment", tmp_path / "env", "--key", "env/0123.tar.zst")
    assert code == ExitCode.OK, log
    assert run(site, "store-environment")[0] == ExitCode.USAGE
