"""Secrets on their way from SSM into files, and the sentences when there are none."""

import logging
import threading

import pytest

from tests.support.instance import TOKEN, InstanceSite
from tests.support.instance import site as site
from tests.support.waiting import wait_until
from train_cloud.instance.clients import ParameterError, aws_client
from train_cloud.instance.secrets import fetch_secrets, rotate_token

FRESH = "anotherToken0123456789"


def fetch(site: InstanceSite, patience_seconds: float = 0.0, **changes: object) -> None:
    deployment = site.deployment(**changes)
    fetch_secrets(deployment.config, aws_client("ssm", "us-east-1"), deployment.run_folder, patience_seconds)


def test_the_token_becomes_a_file_that_only_its_owner_reads(site: InstanceSite) -> None:
    fetch(site)
    file = site.run_folder / "token"
    assert file.read_text() == TOKEN
    assert file.stat().st_mode & 0o777 == 0o600
    assert (site.run_folder / "wandb_key").read_bytes() == b""


def test_the_dashboards_token_is_another_file_and_not_needed(
    site: InstanceSite, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(site)
    file = site.run_folder / "dashboard_token"
    assert file.read_text() == "watchers0123456789only"
    assert file.stat().st_mode & 0o777 == 0o600
    fetch(site, dashboard_parameter="/ac-test/missing")
    assert file.read_text() == ""
    assert "nobody will get into the dashboard; the training goes on" in caplog.text


def test_the_wandb_key_is_fetched_when_there_is_one(site: InstanceSite) -> None:
    site.put_parameter("wandb", "k" * 40)
    fetch(site, wandb_parameter="/ac-test/wandb")
    assert (site.run_folder / "wandb_key").read_text() == "k" * 40
    assert (site.run_folder / "wandb_key").stat().st_mode & 0o777 == 0o600


def test_without_its_wandb_key_the_training_goes_on(site: InstanceSite, caplog: pytest.LogCaptureFixture) -> None:
    site.put_parameter("wandb", "unset")
    fetch(site, wandb_parameter="/ac-test/wandb")
    fetch(site, wandb_parameter="/ac-test/missing")
    assert (site.run_folder / "wandb_key").read_bytes() == b""
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 2
    assert all("without Weights & Biases" in text for text in said)


def test_a_token_that_nobody_set_is_said_with_what_to_do(site: InstanceSite) -> None:
    site.put_parameter("token", "unset")
    with pytest.raises(ParameterError, match=r"/ac-test/token holds no bridge token yet.*make rotate-token"):
        fetch(site)


def test_a_token_that_is_none_is_said_without_its_text(site: InstanceSite) -> None:
    site.put_parameter("token", "s3cret with spaces")
    with pytest.raises(ParameterError, match="16 to 128 letters and digits") as refused:
        fetch(site)
    assert "s3cret" not in str(refused.value)


def test_a_parameter_that_is_not_there_is_said(site: InstanceSite) -> None:
    with pytest.raises(ParameterError, match=r"/none could not be read: there is none of that name"):
        fetch(site, token_parameter="/none")


def test_a_service_that_is_down_for_a_while_is_waited_for(site: InstanceSite, caplog: pytest.LogCaptureFixture) -> None:
    site.down.add("ssm")
    fetching = threading.Thread(target=fetch, args=(site, 30.0))
    fetching.start()
    wait_until(lambda: "trying again" in caplog.text, "the first attempt fails")
    site.down.clear()
    fetching.join(120)
    assert (site.run_folder / "token").read_text() == TOKEN


def test_a_token_that_was_changed_is_taken_over_once(site: InstanceSite) -> None:
    fetch(site)
    ssm, config = aws_client("ssm", "us-east-1"), site.deployment().config
    assert not rotate_token(config, ssm, site.run_folder)
    site.put_parameter("token", FRESH)
    assert rotate_token(config, ssm, site.run_folder)
    assert (site.run_folder / "token").read_text() == FRESH
    assert not rotate_token(config, ssm, site.run_folder)
