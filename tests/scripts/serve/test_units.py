"""The units of a server of one's own are an instance's, with this machine's paths and nothing that is AWS's."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import install_server
from scripts.install_server import (
    InstallError,
    refuse_another_run,
    refuse_others_units,
    refuse_what_no_unit_can_name,
    served_by,
    take_away,
)
from scripts.serve.installed import INSTALLED, SYSTEM, UNITS, USER, is_installed
from scripts.serve.units import SOURCES, WRITTEN, Server, units_of
from tests.support.tools import need_tools

ROOT = Path(__file__).parents[3]


def server(scope: str, folder: Path, bucket: Path | None = None) -> Server:
    return Server(scope, folder, ROOT, Path(sys.executable), "0.0.0.0", 8766, bucket)


def values(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.M)


@pytest.mark.parametrize("scope", [SYSTEM, USER])
def test_no_unit_names_what_only_an_instance_has(scope: str, tmp_path: Path) -> None:
    for name, text in units_of(server(scope, tmp_path)).items():
        strange = re.findall(
            r"/(?:run|etc|opt|var/lib)/ac-training|METADATA|ac-(?!receiver|training|driver|dashboard|tensor)\w+", text
        )
        assert not strange, (name, strange)
        assert "$" not in text.replace("${CREDENTIALS_DIRECTORY}", "")
        assert text.startswith(WRITTEN)


@pytest.mark.parametrize("scope", [SYSTEM, USER])
def test_systemd_finds_nothing_wrong_with_them(scope: str, tmp_path: Path) -> None:
    need_tools("systemd-analyze")
    for name, text in units_of(server(scope, tmp_path)).items():
        (tmp_path / name).write_text(text)
    manager = ["--user"] if scope == USER else []
    checked = subprocess.run(
        ["systemd-analyze", *manager, "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert not [line for line in checked.stderr.splitlines() if str(tmp_path) in line or line.startswith("ac-")]


def test_a_system_s_unit_keeps_the_sandbox_and_its_user(tmp_path: Path) -> None:
    receiver = units_of(server(SYSTEM, tmp_path, Path("/mnt/nas")))["ac-receiver.service"]
    source = (SOURCES / "ac-receiver.service").read_text() + (SOURCES / "ac-.service.d" / "common.conf").read_text()
    for name in ("User", "ProtectSystem", "SystemCallFilter", "CapabilityBoundingSet", "Restart", "WatchdogSec"):
        assert values(receiver, name) == values(source, name), name
    assert values(receiver, "ReadWritePaths") == [f"{tmp_path} /mnt/nas"]
    assert values(receiver, "LoadCredential") == [f"token:{tmp_path}/token"]
    assert values(receiver, "ExecStart") == [
        f"{sys.executable} -m train_cloud.receiver --config {tmp_path}/run.json --folder {tmp_path}"
    ]


def test_a_user_s_unit_asks_for_nothing_that_only_root_may(tmp_path: Path) -> None:
    units = units_of(server(USER, tmp_path))
    for text in units.values():
        assert not re.findall(r"^(?:User|Group|DynamicUser|Protect\w+|LoadCredential|LimitNOFILE)=", text, re.M)
        assert values(text, "WantedBy") == ["default.target"]
    said = " ".join(values(units["ac-dashboard.service"], "Environment"))
    assert f"AC_DASHBOARD_TOKEN_FILE={tmp_path}/dashboard_token" in said
    assert f"AC_TRAINING_TOKEN_FILE={tmp_path}/token" in " ".join(values(units["ac-receiver.service"], "Environment"))


@pytest.mark.parametrize("there", [False, True])
def test_the_key_of_weights_and_biases_is_handed_on_where_there_is_one(there: bool, tmp_path: Path) -> None:
    if there:
        (tmp_path / "wandb_key").write_text("secret")
    trainer = units_of(server(SYSTEM, tmp_path))["ac-training.service"]
    assert (f"LoadCredential=wandb_key:{tmp_path}/wandb_key" in trainer) == there
    assert ("AC_TRAINING_WANDB_KEY_FILE=%d/wandb_key" in trainer) == there
    assert f"WANDB_DIR={tmp_path}" in trainer


def test_a_path_that_units_take_for_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="has a sign that units take for another"):
        refuse_what_no_unit_can_name(USER, tmp_path / "my run")


def test_a_place_that_services_do_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install_server, "ROOT", Path("/opt/ac-training"))
    monkeypatch.setattr(sys, "executable", "/opt/ac-training/.venv/bin/python")
    hidden, seen = Path("/home/me/served"), Path("/srv/served")
    with pytest.raises(InstallError, match=r"run's folder /home.* is in a place that services do not see .*/opt"):
        refuse_what_no_unit_can_name(SYSTEM, hidden)
    with pytest.raises(InstallError, match=r"run's bucket\.folder /home.* is in a place that services do not see"):
        refuse_what_no_unit_can_name(SYSTEM, seen, hidden)


def test_a_unit_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    refuse_others_units(tmp_path)
    shutil.copy(SOURCES / "ac-receiver.service", tmp_path)
    with pytest.raises(InstallError, match="was not written by this command"):
        refuse_others_units(tmp_path)
    (tmp_path / "ac-receiver.service").write_text(units_of(server(USER, tmp_path))["ac-receiver.service"])
    refuse_others_units(tmp_path)


def test_the_services_of_a_run_in_another_folder_are_left_alone(tmp_path: Path) -> None:
    units, first, second = tmp_path / "units", tmp_path / "first", tmp_path / "second"
    units.mkdir()
    assert served_by(units) is None
    for name, text in units_of(server(USER, first)).items():
        (units / name).write_text(text)
    assert served_by(units) == first
    refuse_another_run(units, first)
    with pytest.raises(InstallError, match=rf"those of the run in {first}, and there is one set"):
        refuse_another_run(units, second)


def test_a_folder_whose_units_are_gone_counts_as_installed_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / INSTALLED).write_text("system\n")
    take_away(USER, tmp_path)
    assert is_installed(tmp_path), "the system's manager has it"
    (tmp_path / INSTALLED).write_text("user\n")
    take_away(USER, tmp_path)
    assert not is_installed(tmp_path)


def test_the_page_is_handed_no_certificate_that_nobody_made(tmp_path: Path) -> None:
    own = server(SYSTEM, tmp_path)
    assert f"LoadCredential=tls.pem:{tmp_path}/tls.pem" in units_of(own)["ac-dashboard.service"]
    for text in units_of(replace(own, named_certificate=True)).values():
        assert "tls.pem" not in text


def test_an_s3_server_s_keys_go_to_those_alone_who_ask_it(tmp_path: Path) -> None:
    have = [name for name, text in units_of(server(SYSTEM, tmp_path)).items() if "server.env" in text]
    assert have == ["ac-receiver.service", "ac-training.service"]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--user"], ["--user", "--remove"]])
def test_where_no_systemd_answers_that_is_told_and_nothing_is_written(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.install_server", *arguments, "--folder", str(tmp_path / "served")],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "systemd does not answer here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
