"""An HTTP proxy that puts every CONNECT through to one place, or says something else instead."""

import socket
import ssl
import threading
from contextlib import suppress

_HELLO = b"\x16"
"""How TLS begins, which is not understood here without a certificate."""


class ConnectProxy:
    """Listens on `port` of 127.0.0.1 from `__enter__` to `__exit__`.

    Args:
        target: where every call is put through to, whatever it asks for.
        answer: said instead, before the end, and nothing is put through; with b"" it stays mute.
        tls: the proxy's own certificate, where it is spoken to by TLS.
    """

    def __init__(
        self,
        target: tuple[str, int] | None = None,
        answer: bytes | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[bytes] = []
        """Heads of what was asked."""
        self._target, self._answer, self._tls = target, answer, tls
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> "ConnectProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._server, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            self._open.append(client)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                more = client.recv(1)
                if not more:
                    return
                head += more
                if head == _HELLO:
                    _hang_up(client, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
            self.requests.append(head)
            if self._answer is not None:
                if self._answer:
                    _hang_up(client, self._answer)
                return
            assert self._target is not None
            target = socket.create_connection(self._target)
            self._open.append(target)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=_carry, args=(target, client), daemon=True).start()
            _carry(client, target)


def _hang_up(client: socket.socket, last: bytes) -> None:
    client.sendall(last)
    client.shutdown(socket.SHUT_WR)


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
