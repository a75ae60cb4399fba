"""The folder of a served run: what a first start puts there, what a later one takes over, and what is refused."""

import json
import socket
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from runtime.exit_codes import ExitCode
from scripts.processes.folder import UnusableFolder
from scripts.serve.__main__ import check_ports
from scripts.serve.address import check_port, is_ours, lan_address
from scripts.serve.folder import LOCK, STOP, fresh_logs, held, is_held, moved, prepare
from tests.support.small_disk import SmallDisk
from train_cloud.run_config import ConfigError, load_run_config
from train_cloud.settings import ConfigError as SettingsError


def test_an_empty_folder_becomes_a_run_with_its_data_inside_and_a_token_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    with held(folder):
        config = prepare(folder, None, "127.0.0.1", None)
    assert config == load_run_config(folder / "run.json")
    assert json.loads((folder / "run.json").read_text()) == {
        "run_id": "served",
        "bucket": {"folder": str(folder / "bucket")},
        "public_host": "127.0.0.1",
    }
    tokens = [folder / name for name in ("token", "dashboard_token")]
    assert [stat.S_IMODE(token.stat().st_mode) for token in tokens] == [0o600] * 2
    assert len({token.read_text() for token in tokens}) == 2
    assert all(len(token.read_text().strip()) >= 40 for token in tokens)


def test_without_a_name_the_run_is_reached_by_the_address_of_the_default_route(tmp_path: Path) -> None:
    found = prepare(tmp_path, None, None, None).public_host
    assert found == (lan_address() or "127.0.0.1")
    assert is_ours(found)


def test_a_later_start_takes_the_settings_and_the_token_over_and_may_change_where_it_listens(tmp_path: Path) -> None:
    run, folder = tmp_path / "run.json", tmp_path / "served"
    run.write_text('{"run_id": "monza-1", "bucket": {"name": "my-bucket"}, "total_timesteps": 5000}')
    with held(folder):
        prepare(folder, run, "192.0.2.7", None)
    token = (folder / "token").read_text()
    with held(folder):
        later = prepare(folder, None, None, 8800)
    assert (later.run_id, later.total_timesteps) == ("monza-1", 5000)
    assert (later.public_host, later.listen_port) == ("192.0.2.7", 8800)
    assert (folder / "token").read_text() == token
    assert json.loads(run.read_text()).get("public_host") is None


def test_a_run_json_that_listens_on_loopback_is_reached_there(tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text('{"run_id": "monza-1", "bucket": {"name": "my-bucket"}, "listen_host": "127.0.0.1"}')
    (tmp_path / "served").mkdir()
    assert prepare(tmp_path / "served", run, None, None).public_host == "127.0.0.1"


def test_the_folder_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder, run = tmp_path / "served", tmp_path / "run.json"
    with held(folder):
        prepare(folder, None, "127.0.0.1", None)
    before = (folder / "run.json").read_bytes()
    run.write_text('{"run_id": "monza-1", "bucket": {"name": "my-bucket"}}')
    with pytest.raises(UnusableFolder, match=r"belongs to the run 'served', not to 'monza-1'\. Name another folder"):
        prepare(folder, run, None, None)
    assert (folder / "run.json").read_bytes() == before


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UnusableFolder, match="holds something, and no run"), held(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sentence = r"The run cannot be kept in .*file/served: .*\. Name another folder"
    with pytest.raises(UnusableFolder, match=sentence), held(tmp_path / "file" / "served"):
        pass


def test_one_at_a_time_serves_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    with held(folder):
        prepare(folder, None, "127.0.0.1", None)
        assert is_held(folder)
        with pytest.raises(UnusableFolder, match=r"is served already\. `make stop FOLDER=.*` ends that"), held(folder):
            pass
        (folder / STOP).touch()
    assert not is_held(folder)
    assert not (folder / STOP).exists()


def test_who_held_a_folder_and_is_gone_holds_it_no_more(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / LOCK)) as left:
        left.execute("BEGIN EXCLUSIVE")
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("http://192.0.2.7", "neither a name nor an address alone, without a scheme or a port"),
        ("192.0.2.7:8765", "neither a name nor an address alone, without a scheme or a port"),
        ("no such name", "neither a name nor an address alone, without a scheme or a port"),
        ("no-such-name.invalid", "Nobody here knows the host 'no-such-name.invalid'"),
    ],
)
def test_a_host_that_cannot_be_is_refused_with_what_to_name(tmp_path: Path, host: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        prepare(tmp_path, None, host, None)
    assert "HOST=192.168.1.5" in str(refused.value)
    assert not (tmp_path / "run.json").exists()


def test_a_run_json_that_is_none_is_refused_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        prepare(tmp_path, tmp_path / "nowhere.json", None, None)
    (tmp_path / "wrong.json").write_text('{"run_id": "a", "bucket": {"nmae": "b"}}')
    with pytest.raises(SettingsError, match=r"unknown field `bucket\.nmae`"):
        prepare(tmp_path, tmp_path / "wrong.json", None, None)
    assert not (tmp_path / "run.json").exists()


def test_a_port_that_another_program_has_is_told_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*PORT=8800"):
            check_port("receiver", "127.0.0.1", port)
    check_port("receiver", "127.0.0.1", port)
    with pytest.raises(ConfigError, match="The page cannot have the port 65536"):
        check_port("page", "127.0.0.1", 65_536)


def test_an_address_that_is_not_this_machines_is_known_as_that() -> None:
    assert is_ours("127.0.0.1")
    assert not is_ours("192.0.2.199")
    with pytest.raises(ConfigError, match=r"The page cannot listen on .* or the address is not this machine's"):
        check_port("page", "192.0.2.199", 0)


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk") as disk:
        with pytest.raises(UnusableFolder, match=r"MiB free, and a run may need 1000\. Free some\.") as refused:
            prepare(disk.folder, None, "127.0.0.1", None)
        assert refused.value.exit_code == ExitCode.DISK_FULL
        assert not (disk.folder / "run.json").exists()


def test_the_logs_of_the_last_time_are_kept_once(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for content in ("first", "second"):
        (tmp_path / "logs" / "receiver.log").write_text(content)
        logs = fresh_logs(tmp_path)
    assert [(file.name, file.read_text()) for file in logs.iterdir()] == [("receiver.log.1", "second")]


def test_a_folder_that_was_moved_is_refused_before_two_runs_have_the_same_data(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "served", tmp_path / "old"
    with held(folder):
        config = prepare(folder, None, "127.0.0.1", None)
    (folder / "bucket").mkdir()
    assert moved(folder, config) is None
    folder.rename(elsewhere)
    before = (elsewhere / "run.json").read_bytes()
    with pytest.raises(UnusableFolder, match="was moved or copied") as refused:
        prepare(elsewhere, None, None, None)
    assert (elsewhere / "run.json").read_bytes() == before
    for said in (
        f"data of a run are in {elsewhere}/bucket",
        f"is {folder}/bucket, which",
        f'"{elsewhere}/bucket" there',
    ):
        assert said in str(refused.value)
    # What the sentence says helps.
    (elsewhere / "run.json").write_text(before.decode().replace(str(folder), str(elsewhere)))
    assert prepare(elsewhere, None, None, None).bucket.folder == f"{elsewhere}/bucket"


def test_who_is_reached_by_ipv6_listens_there(tmp_path: Path) -> None:
    assert prepare(tmp_path, None, "::1", None).listen_host == "::"
    assert json.loads((tmp_path / "run.json").read_text())["listen_host"] == "::"
    run = tmp_path / "own.json"
    run.write_text('{"run_id": "served", "bucket": {"name": "my-bucket"}, "listen_host": "::1"}')
    assert prepare(tmp_path, run, "::1", None).listen_host == "::1"


def test_what_cannot_be_served_is_found_before_anything_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen on"):
            prepare(tmp_path, None, "127.0.0.1", port, check_ports)
    assert not list(tmp_path.iterdir())
