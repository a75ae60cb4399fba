"""An ACME authority of a test's own: Debian's pebble, which looks up proofs in the zone that moto's Route 53 holds."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.authority import NAME, Authority
from tests.support.tools import need_tools
from tests.support.waiting import wait_until

_TXT, _IN = 16, 1


class ZoneServer:
    """A name server on a free UDP port: TXT records as `route53` has them in the zone, nothing else."""

    def __init__(self, route53: Any, zone_id: str) -> None:
        self._route53, self._zone_id = route53, zone_id
        self.asked: list[str] = []
        """Names whose TXT records somebody wanted."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._answer_on, daemon=True)
        self._thread.start()

    def _answer_on(self) -> None:
        while True:
            question, peer = self._socket.recvfrom(4096)
            if not question:
                return
            self._socket.sendto(self._answer(question), peer)

    def _answer(self, question: bytes) -> bytes:
        """RFC 1035: the header with our counts, the question as it came, and an answer for each text."""
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
        texts = self._texts(".".join(labels)) if kind == _TXT else []
        # A pointer to the name in the question; a text goes with its length before it.
        answers = [
            struct.pack(">HHHIHB", 0xC00C, _TXT, _IN, 0, 1 + len(text), len(text)) + text.encode() for text in texts
        ]
        header = question[:2] + struct.pack(">HHHHH", 0x8400, 1, len(answers), 0, 0)
        return header + question[12 : at + 5] + b"".join(answers)

    def _texts(self, name: str) -> list[str]:
        self.asked.append(name.lower())
        found = self._route53.list_resource_record_sets(HostedZoneId=self._zone_id)["ResourceRecordSets"]
        return [
            record["Value"].strip('"')
            for one in found
            if one["Type"] == "TXT" and one["Name"].rstrip(".").lower() == name.lower()
            for record in one["ResourceRecords"]
        ]

    def close(self) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(60)
        self._socket.close()


@contextmanager
def pebble(folder: Path, authority: Authority, names: str, refused: int = 0) -> Iterator[str]:
    """The directory's URL of a running pebble, to be trusted by `authority`; of its nonces it refuses `refused` %.

    `names` is the address of the name server that it asks.
    """
    need_tools("pebble")
    folder.mkdir()
    certificate, key = authority.certify(NAME).write(folder)
    port, management = _free_ports(2)
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": 9,
        "tlsPort": 9,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}), encoding="utf-8")
    environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": str(refused), "PEBBLE_AUTHZREUSE": "0"}
    # On the leash of this process: a killed test leaves no server behind.
    leash = "import subprocess, sys; c = subprocess.Popen(sys.argv[1:]); sys.stdin.read(); c.terminate()"
    command = [sys.executable, "-c", leash, "pebble", "-config", str(folder / "pebble.json"), "-dnsserver", names]
    with (folder / "pebble.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=os.environ | environment)
    try:
        wait_until(lambda: _listens(port), "pebble listens", every=0.05)
        yield f"https://{NAME}:{port}/dir"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    holding = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in holding]
    for one in holding:
        one.close()
    return ports
