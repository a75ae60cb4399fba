"""Which run a command of the operator is about: what is named, else the one that is served here, else the cloud's."""

from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from scripts.cloud.deployment import OperatorError
from scripts.cloud.own_run import Place, folder_of, place_of
from scripts.cloud.pair import pair
from scripts.cloud.stop import stop
from scripts.serve.folder import prepare
from tests.support.operated import command_line
from tests.support.unprivileged import locked_out


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `served` of a run, below the present one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served").mkdir()
    prepare(Path("served"), None, "127.0.0.1", None)
    return Path("served")


def test_where_nothing_is_named_it_is_the_run_that_is_served_here(served: Path) -> None:
    assert place_of(None, None, None) == Place(served / "run.json", served)


@pytest.mark.usefixtures("served")
def test_where_terraform_is_set_up_or_a_deployment_is_named_it_is_the_clouds() -> None:
    assert place_of(None, None, Path("deployment.json")) is None
    Path("terraform/.terraform").mkdir(parents=True)
    assert place_of(None, None, None) is None


def test_a_folder_goes_before_the_cloud(served: Path) -> None:
    Path("terraform/.terraform").mkdir(parents=True)
    assert place_of(None, served, None) == Place(served / "run.json", served)


def test_a_run_json_has_its_receiver_beside_it_or_in_work_or_where_it_is_said(served: Path) -> None:
    assert place_of(Path("run.json"), None, None) == Place(Path("run.json"), Path("work"))
    (served / "store.db").touch()
    assert place_of(served / "run.json", None, None) == Place(served / "run.json", served)
    assert place_of(Path("run.json"), Path("keep"), None) == Place(Path("run.json"), Path("keep"))


def test_a_folder_without_a_run_is_told_with_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"holds no run: .*run\.json is missing\. FOLDER= names") as refused:
        place_of(None, tmp_path, None)
    assert refused.value.code == ExitCode.USAGE
    # Who only wants what lies in it needs no settings there.
    assert folder_of(None, tmp_path, None) == tmp_path


def test_the_folder_of_another_user_is_told_with_sudo(served: Path) -> None:
    with locked_out(served), pytest.raises(OperatorError, match=r"is another user's.*put sudo before the command"):
        place_of(None, served, None)


@pytest.mark.usefixtures("served")
def test_what_is_not_served_has_no_string_and_needs_no_stop(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(pair, []) == ExitCode.FAILED
    assert "No receiver runs in served. `make serve FOLDER=served` starts one." in capsys.readouterr().err
    assert command_line(stop, []) == ExitCode.OK
    assert "Nothing serves served; nothing is changed." in capsys.readouterr().out
