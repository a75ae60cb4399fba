"""What a receiver says is only ever data: the PC imports, unpickles and evaluates nothing of it, and lives on."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from experience.remote_calls import Make, body_of
from experience.values import pack
from tests.conformance.of_bridges import Bridge, Client, bridge_at
from wire.messages import EnvAction, EnvCall
from wire.pairing import format_pairing

OFFERED = "offered_game:MyEnv"
GAME = """
import gymnasium
class MyEnv(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, **kwargs):
        self.kwargs = kwargs
    def reset(self, *, seed=None, options=None):
        import sys
        return 0, {"options": options, "kwargs": self.kwargs, "modules": sorted(sys.modules)}
    def step(self, action):
        return 0, 0.0, False, False, {"action": action}
"""
LEAVES_A_TRACE = """
import pathlib
pathlib.Path(__file__).with_suffix(".trace").touch()
from offered_game import MyEnv
import gymnasium
gymnasium.register("Mine-v0", MyEnv)
"""


class Evil:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pc")
    (folder / "offered_game.py").write_text(GAME)
    (folder / "other_game.py").write_text(LEAVES_A_TRACE)
    return folder


@pytest.fixture(scope="module")
def bridge(folder: Path) -> Iterator[Bridge]:
    """A PC's process, and the receiver that it dials, which says whatever the test says."""
    with bridge_at(0) as listening:
        listening.name = OFFERED
        names = ["--env", OFFERED, "--env", "CartPole-v1"]
        environment = os.environ | {"AC_BRIDGE_URI": format_pairing(listening.pairing), "PYTHONPATH": str(Path.cwd())}
        process = subprocess.Popen([sys.executable, "-m", "bridge", "serve-env", *names], cwd=folder, env=environment)
        try:
            yield listening
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0


@pytest.mark.parametrize(
    "name",
    [
        "other_game:MyEnv",
        "other_game:Mine-v0",
        "offered_game:gymnasium.Env",
        "MountainCar-v0",
        "other_game",
        "offered_game:MyEnv.__init__.__globals__",
        "../offered_game:MyEnv",
        "",
    ],
)
def test_what_is_not_offered_is_neither_made_nor_imported(bridge: Bridge, folder: Path, name: str) -> None:
    client = bridge.client()
    told = client.refused("unknown_environment", client.call(EnvAction.MAKE, body_of(Make(name))))
    assert f"it offers {OFFERED}, CartPole-v1" in told
    check_untouched(bridge, folder)


def test_another_id_among_the_keywords_of_an_id_of_gymnasiums_is_no_way_around(bridge: Bridge, folder: Path) -> None:
    client = bridge.client()
    body = body_of(Make("CartPole-v1", {"id": "other_game:Mine-v0"}))
    assert "multiple values for argument 'id'" in client.refused("raised", client.call(EnvAction.MAKE, body))
    client.value(EnvAction.CLOSE)
    check_untouched(bridge, folder)


HOSTILE: dict[str, bytes] = {
    "a pickle": pickle.dumps(Evil()),
    "a pickle of NumPy's": np.array([Evil()], object).dumps(),
    "a pickle in an array of objects": msgspec.msgpack.encode(
        msgspec.msgpack.Ext(1, b"\x03|O8\x01" + (1).to_bytes(8, "little") + pickle.dumps(Evil()))
    ),
    "a dtype that is evaluated": msgspec.msgpack.encode(
        msgspec.msgpack.Ext(1, b"\x1f__import__('os').mkdir('x')   \x01" + bytes(8))
    ),
}


@pytest.mark.parametrize("what", [EnvAction.MAKE, EnvAction.RESET, EnvAction.STEP])
@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_pickle_is_not_unpickled(bridge: Bridge, folder: Path, what: EnvAction, body: bytes) -> None:
    client = bridge.client()
    client.made()
    client.refused("bad_call", client.call(what, body))
    client.value(EnvAction.CLOSE)
    check_untouched(bridge, folder)


def test_texts_and_bytes_stay_what_they_are(bridge: Bridge, folder: Path) -> None:
    kwargs = {"code": "__import__('os').mkdir('evaluated')", "name": "other_game:MyEnv", "bytes": pickle.dumps(Evil())}
    client = bridge.client()
    client.answer(client.call(EnvAction.MAKE, body_of(Make(OFFERED, kwargs))))
    told = client.value(EnvAction.RESET, pack({"seed": None, "options": kwargs}))[1]
    assert told["kwargs"] == told["options"] == kwargs
    assert client.value(EnvAction.STEP, pack(kwargs))[4] == {"action": kwargs}
    client.value(EnvAction.CLOSE)
    check_untouched(bridge, folder)


def check_untouched(bridge: Bridge, folder: Path) -> None:
    """Nothing was imported, unpickled or evaluated, and the PC serves on."""
    client = bridge.client()
    client.made()
    modules = client.value(EnvAction.RESET, pack({"seed": None, "options": None}))[1]["modules"]
    client.value(EnvAction.CLOSE)
    assert "offered_game" in modules
    assert "other_game" not in modules
    left = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert left == {"offered_game.py", "other_game.py"}
    assert not Path("unpickled").exists()


@pytest.mark.slow
def test_whoever_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(
        GAME.replace("import sys\n", "import threading\n        threading.Event().wait()\n")
    )
    with bridge_at(0) as listening:
        environment = os.environ | {"AC_BRIDGE_URI": format_pairing(listening.pairing), "PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-m", "bridge", "serve-env", "--env", "hangs:MyEnv"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
            try:
                client = Client(listening)
                client.answer(client.call(EnvAction.MAKE, body_of(Make("hangs:MyEnv"))))
                reset: EnvCall = client.call(EnvAction.RESET, pack({}))
                listening.link.say(reset)
                client.number += 1
                late = EnvCall(client.name, client.number, EnvAction.STEP, 1.0, pack(0))
                assert client.answer(late).error == "hangs"
                process.send_signal(signal.SIGTERM)
                assert process.wait(120) == 0
            finally:
                process.kill()
