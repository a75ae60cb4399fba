"""`python -m scripts.bench.s3_server FILE BUCKET`: moto's S3 server on a free loopback port, standing in for AWS.

Writes its URL into FILE when it answers and holds the empty BUCKET: its first answer may take a slow machine a minute,
so it is asked here, where nobody else waits. It keeps everything in memory, for as long as it runs.
"""

import sys
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

from moto.server import ThreadedMotoServer

from runtime.exit_codes import ExitCode
from runtime.files import write_private
from runtime.logs import configure_logging
from runtime.signals import stop_on_signals

FIRST_ANSWER_SECONDS = 300.0


def main(file: Path, bucket: str) -> ExitCode:
    """Serve until a signal."""
    configure_logging("s3")
    stop = stop_on_signals()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    first = HTTPConnection(host, port, timeout=FIRST_ANSWER_SECONDS)
    first.request("PUT", f"/{bucket}")
    if (status := first.getresponse().status) != HTTPStatus.OK:
        raise RuntimeError(f"the bucket {bucket} could not be made: the S3 server answered {status}")
    first.close()
    write_private(file, f"http://{host}:{port}".encode())
    while not stop.wait(0.2):
        pass
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
