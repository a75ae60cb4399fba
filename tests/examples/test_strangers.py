"""Programs of strangers, who know the protocol's page and nothing else, against the real receiver."""

import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support.authority import NAME, Authority, authority
from tests.support.moto_s3 import MotoS3, s3
from tests.support.receivers import ReceiverProcess, receiver_process
from tests.support.runs import run_config
from tests.support.telemetry import written_rows
from tests.support.tools import need_tools
from tests.support.waiting import wait_until
from train_cloud.run_config import RunConfig

__all__ = ["authority", "s3"]

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE = ["node", "--experimental-websocket", str(EXAMPLES / "stranger_stream.mjs")]


pytestmark = pytest.mark.slow


def config_of(s3: MotoS3) -> RunConfig:
    bucket = {"name": s3.bucket.name, "endpoint_url": s3.bucket.endpoint_url}
    return run_config(bucket=bucket, listen_host="127.0.0.1", listen_port=0, segment_seconds=0.5)


def uri_of(receiver: ReceiverProcess) -> str:
    receiver.pairing()
    return (receiver.folder / "pairing.txt").read_text(encoding="utf-8").strip()


def said(receiver: ReceiverProcess, command: list[str], batches: int, **variables: str) -> list[dict[str, object]]:
    """What the receiver told the stranger who sent so many batches."""
    ran = subprocess.run(
        [*command, str(batches)],
        env=os.environ | {"AC_BRIDGE_URI": uri_of(receiver)} | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def acknowledged(lines: list[dict[str, object]]) -> list[object]:
    assert lines[0]["type"] == "welcome"
    assert {line["type"] for line in lines[1:]} == {"ack"}
    return [line["stored_through"] for line in lines[1:]]


@pytest.mark.parametrize("plain", [False, True])
def test_ten_lines_of_python_stream_and_another_reads_it(s3: MotoS3, tmp_path: Path, plain: bool) -> None:
    options = ["--write-telemetry", "jsonl", *["--plain"] * plain]
    with receiver_process(config_of(s3), tmp_path, *options) as receiver:
        folder, told = tmp_path / "telemetry", tmp_path / "watched.txt"
        with told.open("w") as out:
            command = [sys.executable, str(EXAMPLES / "stranger_watch.py"), str(folder)]
            watching = subprocess.Popen(command, stdout=out)
        try:
            program = [sys.executable, str(EXAMPLES / "stranger_stream.py")]
            assert acknowledged(said(receiver, program, 3)) == [1, 2, 3]
            wait_until(lambda: len(told.read_text().splitlines()) >= 15, "what was streamed is read")
        finally:
            watching.kill()
            watching.wait()
    rows = written_rows(folder)
    assert [row["time"] for row in rows] == [index / 10 for index in range(5, 20)]
    assert told.read_text().splitlines() == [f"stranger: {3.6 * row['speed']:.1f} km/h  lap 1  valid" for row in rows]


def test_ten_lines_of_python_trust_an_authoritys_certificate(authority: Authority, s3: MotoS3, tmp_path: Path) -> None:
    authority.certify(NAME).write(tmp_path)
    files = {"tls_certificate": str(tmp_path / "fullchain.pem"), "tls_key": str(tmp_path / "privkey.pem")}
    config = msgspec.structs.replace(config_of(s3), public_host=NAME, **files)
    with receiver_process(config, tmp_path / "work") as receiver:
        assert "/pin-" not in uri_of(receiver)
        program = [sys.executable, str(EXAMPLES / "stranger_stream.py")]
        assert acknowledged(said(receiver, program, 1)) == [1]


@pytest.mark.parametrize("plain", [False, True])
def test_nodes_own_websocket_streams(s3: MotoS3, tmp_path: Path, plain: bool) -> None:
    need_tools("node")
    options = ["--write-telemetry", "jsonl", *["--plain"] * plain]
    with receiver_process(config_of(s3), tmp_path, *options) as receiver:
        pairing, variables = receiver.pairing(), dict[str, str]()
        if not plain:
            certificate = tmp_path / "receiver.pem"
            certificate.write_text(ssl.get_server_certificate((pairing.host, pairing.port)))
            variables = {"NODE_EXTRA_CA_CERTS": str(certificate)}
        assert acknowledged(said(receiver, NODE, 3, **variables)) == [1, 2, 3]
    assert [row["bridge"] for row in written_rows(tmp_path / "telemetry")] == ["stranger.mjs"] * 3


def test_a_wrong_type_of_a_strangers_gets_a_sentence(s3: MotoS3, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    text = (EXAMPLES / "stranger_stream.py").read_text(encoding="utf-8")
    wrong.write_text(text.replace("gear = 30 + 10 * math.sin(index / 10), 3", 'gear = 30.0, "third"'), encoding="utf-8")
    with receiver_process(config_of(s3), tmp_path, "--plain") as receiver:
        ran = subprocess.run(
            [sys.executable, str(wrong)],
            env=os.environ | {"AC_BRIDGE_URI": uri_of(receiver)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert "Expected `int`, got `str` - at `$.frames[0].gear`" in ran.stdout, ran.stderr
        # Nobody else is harmed.
        assert acknowledged(said(receiver, [sys.executable, str(EXAMPLES / "stranger_stream.py")], 1)) == [1]
