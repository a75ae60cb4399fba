"""The pairing is stored for its owner alone and found where it was put; the command line keeps it secret."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.pairing.file import config_folder, found_uri, store_pairing
from racing.task_config import TaskConfig
from wire.pairing import Pairing, PairingError, format_pairing, parse_pairing

ROOT = Path(__file__).parents[3]
TOKEN = "abcdefghijklmnop0123456789"
DRIVE = ["drive", "--uri", f"ws://bridge:{TOKEN}@127.0.0.1:9/"]
RECORDED = [*DRIVE, "--car", "recorded", "--recording", "no.csv"]
PAIRING = Pairing("example.org", 8765, TOKEN, pin="ab" * 32)


def ac_bridge(folder: Path, *arguments: str, piped: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=ROOT,
        env=os.environ | {"AC_BRIDGE_CONFIG_DIR": str(folder)} | environment,
        capture_output=True,
        text=True,
        check=False,
        input=piped,
    )


def test_a_stored_pairing_is_found_again(tmp_path: Path) -> None:
    store_pairing(PAIRING, tmp_path / "new")
    assert parse_pairing(found_uri(None, tmp_path / "new", {})) == PAIRING


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are of POSIX systems")
def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = store_pairing(PAIRING, tmp_path / "new")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [child.name for child in path.parent.iterdir()] == [path.name]


def test_what_is_given_goes_before_the_environment_and_that_before_what_is_stored(tmp_path: Path) -> None:
    store_pairing(PAIRING, tmp_path)
    environment = {"AC_BRIDGE_URI": "from the environment"}
    assert found_uri("given", tmp_path, environment) == "given"
    assert found_uri(None, tmp_path, environment) == "from the environment"
    assert found_uri(None, tmp_path, {"AC_BRIDGE_URI": ""}) == format_pairing(PAIRING)


def test_without_any_pairing_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PairingError, match="ac-bridge pair"):
        found_uri(None, tmp_path, {})


def test_each_system_keeps_it_in_its_usual_place() -> None:
    assert config_folder({"APPDATA": "/roaming"}, "win32") == Path("/roaming/ac-training")
    assert config_folder({"XDG_CONFIG_HOME": "/xdg"}, "linux") == Path("/xdg/ac-training")
    assert config_folder({}, "linux") == Path.home() / ".config" / "ac-training"
    assert config_folder({}, "darwin").parts[-3:] == ("Library", "Application Support", "ac-training")
    assert config_folder({"AC_BRIDGE_CONFIG_DIR": "/mine"}, "win32") == Path("/mine")


def test_pair_stores_without_showing_the_token(tmp_path: Path) -> None:
    done = ac_bridge(tmp_path, "pair", format_pairing(PAIRING))
    assert done.returncode == 0
    assert "wss://example.org:8765/" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert parse_pairing(found_uri(None, tmp_path, {})) == PAIRING


def test_pair_takes_the_string_from_the_environment_too(tmp_path: Path) -> None:
    done = ac_bridge(tmp_path, "pair", AC_BRIDGE_URI=format_pairing(PAIRING))
    assert done.returncode == 0
    assert parse_pairing(found_uri(None, tmp_path, {})) == PAIRING


@pytest.mark.parametrize("before", ["", "\ufeff"])
def test_pair_takes_the_string_from_a_pipe(tmp_path: Path, before: str) -> None:
    done = ac_bridge(tmp_path, "pair", piped=f"{before}{format_pairing(PAIRING)}\n", AC_BRIDGE_URI="")
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert parse_pairing(found_uri(None, tmp_path, {})) == PAIRING


def test_a_pipe_from_which_nothing_comes_is_told_so(tmp_path: Path) -> None:
    done = ac_bridge(tmp_path, "pair", AC_BRIDGE_URI="")
    assert done.returncode == 2
    assert "No pairing string came." in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["pair", f"wss://bridge:{TOKEN}@example.org:8765/pin-12"], "64 hex digits"),
        (["drive", "--uri", f"ws://bridge:{TOKEN}@example.org:8765/"], "unencrypted"),
        (["drive"], "not paired"),
        ([*DRIVE, "--car", "recorded"], "--recording"),
        (RECORDED, "--track"),
        ([*RECORDED, "--track", "seed:7", "--cars", "1"], "--cars has no effect"),
        ([*RECORDED, "--track", "seed:7", "--seed", "0"], "--seed has no effect"),
        ([*DRIVE, "--track", "no.csv"], "no.csv"),
        ([*DRIVE, "--seed", "-3"], "Invalid value for '--seed'"),
    ],
    ids=[
        "cut pin",
        "plain",
        "unpaired",
        "no recording",
        "recording without its track",
        "cars of a recording",
        "seed of a recording",
        "no track",
        "seed below zero",
    ],
)
def test_a_mistake_gets_a_sentence_without_the_token(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    done = ac_bridge(tmp_path, *arguments, AC_BRIDGE_URI="")
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["drive", "play"])
def test_the_help_names_every_setting_of_the_task(tmp_path: Path, command: str) -> None:
    shown = ac_bridge(tmp_path, command, "--help", TERMINAL_WIDTH="600", NO_COLOR="1").stdout
    for name in TaskConfig.__dataclass_fields__:
        assert re.search(rf"\b{name}\b", shown), name


def test_whoever_is_not_paired_is_told_where_the_string_is(tmp_path: Path) -> None:
    with pytest.raises(PairingError, match=r"pairing\.txt"):
        found_uri(None, tmp_path, {})
