"""Where the operator's commands learn what Terraform has made, and what they say when there is nothing to learn."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.aws import Cloud
from scripts.cloud.deployment import OperatorError, load_deployment
from scripts.cloud.start import start
from scripts.cloud.stop import stop
from tests.support.aws_server import AwsServer, environment
from tests.support.operated import Operated, operated
from tests.support.stack import Stack
from tests.support.tools import need_tools

__all__ = ["operated"]


def test_a_file_stands_for_terraform(operated: Operated) -> None:
    assert load_deployment(operated.file) == operated.deployment


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_file_that_windows_powershell_wrote_is_read_too(operated: Operated, encoding: str) -> None:
    operated.file.write_bytes(operated.file.read_text(encoding="utf-8").encode(encoding))
    assert load_deployment(operated.file) == operated.deployment


def test_a_newer_terraforms_output_is_read_too(operated: Operated) -> None:
    more = msgspec.json.decode(operated.file.read_bytes()) | {"something_new": 1}
    operated.file.write_bytes(msgspec.json.encode(more))
    assert load_deployment(operated.file) == operated.deployment


def test_a_field_that_is_missing_is_named(operated: Operated) -> None:
    less = msgspec.json.decode(operated.file.read_bytes())
    del less["bucket"]
    operated.file.write_bytes(msgspec.json.encode(less))
    with pytest.raises(OperatorError, match=r"the field `bucket` is missing.*terraform -chdir=terraform apply"):
        load_deployment(operated.file)


def test_a_file_that_is_not_there_is_told_with_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"cannot be read.*terraform -chdir=terraform output -json deployment"):
        load_deployment(tmp_path / "none.json")


def test_a_pc_without_terraform_is_told_how_to_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatorError, match=r"Terraform is not installed.*DEPLOYMENT=deployment\.json") as caught:
        load_deployment(None)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.terraform
def test_before_an_apply_there_is_no_deployment(tmp_path: Path) -> None:
    need_tools("terraform")
    (tmp_path / "outputs.tf").write_text('output "region" {\n  value = "here"\n}\n')
    with pytest.raises(OperatorError, match="Nothing is applied in"):
        load_deployment(None, tmp_path)


@pytest.mark.terraform
def test_what_is_applied_can_be_stopped_and_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = AwsServer()
    for name, value in environment(server.endpoint_url).items():
        monkeypatch.setenv(name, value)
    try:
        server.reset()
        stack = Stack(tmp_path / "stack", server.endpoint_url, run_id="lap-9")
        stack.apply()
        found = load_deployment(None, stack.folder / "terraform")
        assert (found.run_id, found.listen_port, found.total_timesteps) == ("lap-9", 8765, 200_000)
        cloud = Cloud(found)
        assert cloud.group().desired == 1
        assert cloud.endpoint() is None
        file = tmp_path / "deployment.json"
        file.write_bytes(msgspec.json.encode(found))
        stop(deployment=file)
        start(deployment=file)
        assert cloud.group().desired == 1
        assert "Stopped the run lap-9" in capsys.readouterr().out
        assert stack.plan() == ""
    finally:
        server.stop()
