"""All environments that this PC steps for others, by the clients that made them.

Promises that each call is done once, however often it is asked; that a client's hanging environment disturbs nobody
else; and that no more environments exist than the PC's owner allows.
"""

import time
from collections.abc import Callable, Mapping

from bridge.serve_env.offers import Maker
from bridge.serve_env.processes import Processes
from bridge.serve_env.served import Served
from bridge.serve_env.worker import CLOSE_SECONDS
from experience.remote_calls import CallError, Make, error_body, read_body
from experience.values import pack
from wire.messages import EnvAction, EnvCall, EnvErrorCode, EnvResult

FORGOTTEN_SECONDS = 60.0
"""A client that has asked nothing for so long gives its room up, when another needs it."""


MOST_GIVEN_UP = 8
"""So many environments more than there may be at all may still be closing, or hang, while others take their room."""


class Host:
    """Answers calls by the environments of `offers`, `most` at the same time; `answer` may be called in any thread.

    `ask` is called in one thread only. `processes` step the environments of one vector; None: as a trial says.
    """

    def __init__(
        self,
        offers: Mapping[str, Maker],
        most: int,
        answer: Callable[[EnvResult], None],
        processes: int | None = 1,
    ) -> None:
        self._offers, self._most, self._answer = offers, most, answer
        self._processes = Processes(processes)
        self._clients: dict[str, Served] = {}
        self._given_up: list[Served] = []

    def ask(self, call: EnvCall) -> None:
        """Have a call done, or refuse it."""
        client = self._clients.get(call.client)
        if client is not None and client.busy and call.number > client.asked:
            # Its deadline is over, or it would not be asked for more.
            if call.what not in (EnvAction.MAKE, EnvAction.CLOSE):
                self._refuse(call, EnvErrorCode.HANGS, "The environment has not come back from the call before.")
                return
            self._forget(call.client)
            client = None
        if call.what is EnvAction.CLOSE:
            if client is not None:
                self._forget(call.client)
            self._answer(EnvResult(call.client, call.number, 0.0, pack(None)))
        elif call.what is EnvAction.MAKE and (client is None or call.number > client.asked):
            self._make(call, client)
        elif client is not None:
            client.ask(call)
        else:
            self._refuse(call, EnvErrorCode.UNKNOWN_CLIENT, "This process has made no environment for this client.")

    def close(self) -> None:
        """Close all environments; those that have not come back by CLOSE_SECONDS are ended or left alone."""
        clients, deadline = list(self._clients.values()), time.monotonic() + CLOSE_SECONDS + 1.0
        for name in list(self._clients):
            self._forget(name)
        for client in clients:
            client.join(deadline - time.monotonic())

    def _make(self, call: EnvCall, client: Served | None) -> None:
        try:
            count = read_body(call.body, Make).count or 1
        except CallError as error:
            self._refuse(call, EnvErrorCode.BAD_CALL, str(error))
            return
        self._make_room(count, call.client)
        if sum(other.count for other in self._clients.values() if other is not client) + count > self._most:
            self._refuse(
                call,
                EnvErrorCode.FULL,
                f"This PC steps {self._most} environments at the same time, and {count} more are asked for. Start it "
                "with a higher --num-envs, or ask for fewer.",
            )
            return
        self._given_up = [one for one in self._given_up if not one.ended]
        if (stuck := sum(one.count for one in self._given_up)) > self._most + MOST_GIVEN_UP:
            self._refuse(
                call,
                EnvErrorCode.FULL,
                f"{stuck} environments that were given up on this PC have not come back from what they were asked. End "
                "what they hang in, or start `ac-bridge serve-env` anew.",
            )
            return
        if client is None:
            client = self._clients[call.client] = Served(self._offers, self._processes, self._answer)
        client.count = count
        client.ask(call)

    def _make_room(self, count: int, keep: str) -> None:
        """Forget clients that are gone, as it seems, while others need their room."""
        for name, client in sorted(self._clients.items(), key=lambda item: item[1].used):
            held = sum(other.count for other in self._clients.values())
            if held + count <= self._most or client.used > time.monotonic() - FORGOTTEN_SECONDS:
                return
            if name != keep:
                self._forget(name)

    def _forget(self, name: str) -> None:
        client = self._clients.pop(name)
        client.abandon()
        self._given_up.append(client)

    def _refuse(self, call: EnvCall, code: EnvErrorCode, text: str) -> None:
        self._answer(EnvResult(call.client, call.number, 0.0, error_body(text), code))
