"""`make protocol`: writes what a program in another language must know of the messages, from their one declaration.

docs/protocol/messages.json is the JSON Schema of every message and body of serving environments, and
docs/protocol/examples.json holds frames, bodies and values with their bytes, to test an implementation by. A test is
red while either is stale: then the protocol has changed, and programs of others with it. With them goes
docs/wire-protocol.md, for people (scripts/wire_protocol.py).
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from gymnasium import spaces as gym
from gymnasium.spaces import GraphInstance

from experience.remote_calls import Made, Make, Reset, body_of, made
from experience.spaces import space_text
from experience.values import pack
from scripts import wire_protocol
from wire.frames import encode_frame
from wire.messages import (
    PROTOCOL,
    CloseCode,
    Drain,
    EnvAction,
    EnvCall,
    EnvErrorCode,
    EnvResult,
    Error,
    ErrorCode,
    Hello,
    Message,
    Ping,
    Pong,
    Role,
    Welcome,
)

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "protocol"
MESSAGES = (Hello, Welcome, EnvCall, EnvResult, Ping, Pong, Drain, Error)
BODIES = (Make, Made, Reset)
_CLIENT, _STREAM = "c" * 32, "5" * 32

VALUES: tuple[tuple[str, Any], ...] = (
    ("None", None),
    ("True", True),
    ("3", 3),
    ("a large integer, 2**70", 2**70),
    ("1.5", 1.5),
    ("a text", "öl"),
    ("bytes", b"\x00\x01"),
    ("a list", [1, "a"]),
    ("a tuple", (1, "a")),
    ("a dict with texts as keys", {"lap": 2}),
    ("a dict with other keys", {1: "one"}),
    ("a float64 of NumPy", np.float64(0.5)),
    ("an array of 2 x 2 float32", np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)),
    ("an array of uint8 without an axis", np.array(7, np.uint8)),
    ("an array of texts", np.array(["ab", "c"])),
    ("an array of objects", np.array([None, "c"], object)),
    ("a graph", GraphInstance(np.zeros((1, 2), np.float32), None, None)),
)
SPACES: tuple[gym.Space[Any], ...] = (
    gym.Box(-1.0, 1.0, (3,), np.float32),
    gym.Box(np.array([-np.inf, 0.1], np.float32), np.array([0.1, np.inf], np.float32)),
    gym.Discrete(4, start=-1),
    gym.MultiBinary([2, 3]),
    gym.MultiDiscrete([3, 2], start=[1, -1]),
    gym.Text(12, min_length=0, charset="äbc"),
    gym.Tuple([gym.Discrete(2), gym.MultiBinary(1)]),
    gym.Dict([("z", gym.Discrete(2)), ("a", gym.Discrete(3))]),
    gym.Sequence(gym.Discrete(2), stack=True),
    gym.Graph(gym.Box(0.0, 1.0, (2,)), None),
    gym.OneOf([gym.Discrete(2), gym.MultiBinary(2)]),
)


def talk() -> Iterator[tuple[str, Message]]:
    """A short life of one environment, message by message."""
    up, down = "bridge: ", "receiver: "
    spaces = gym.Box(-1.0, 1.0, (2,), np.float32), gym.Discrete(2)
    yield up + "hello", Hello("pc", _STREAM, Role.SERVE_ENV, "", "", False, 4, 0, 0, "mine 1", environments=("My-v0",))
    yield down + "welcome", Welcome("run", 0, 0, 0, 0, 20_000)
    yield down + "make", EnvCall(_CLIENT, 1, EnvAction.MAKE, 300.0, body_of(Make("My-v0", {"level": 3})))
    yield up + "made", EnvResult(_CLIENT, 1, 0.25, body_of(made(*spaces, {"render_modes": ["rgb_array"]})))
    yield down + "reset", EnvCall(_CLIENT, 2, EnvAction.RESET, 300.0, body_of(Reset(seed=7)))
    yield up + "observation, info", EnvResult(_CLIENT, 2, 0.001, pack([np.zeros(2, np.float32), {}]))
    yield down + "step", EnvCall(_CLIENT, 3, EnvAction.STEP, 30.0, pack(np.int64(1)))
    stepped = pack([np.ones(2, np.float32), 1.0, False, False, {"lap": 1}])
    yield up + "observation, reward, terminated, truncated, info", EnvResult(_CLIENT, 3, 0.001, stepped)
    yield down + "step", EnvCall(_CLIENT, 4, EnvAction.STEP, 30.0, pack(np.int64(1)))
    yield up + "an error", EnvResult(_CLIENT, 4, 0.001, pack("ValueError: the wheel came off"), EnvErrorCode.RAISED)
    yield down + "close", EnvCall(_CLIENT, 5, EnvAction.CLOSE, 30.0)
    yield up + "closed", EnvResult(_CLIENT, 5, 0.0, pack(None))
    yield up + "ping", Ping(12.5)
    yield down + "pong", Pong(12.5)
    yield down + "drain", Drain("The instance is going away.")
    yield down + "error", Error(ErrorCode.BAD_MESSAGE, "This bridge serves environments and names none.")


def schema() -> dict[str, Any]:
    """The JSON Schema of messages and bodies."""
    _, components = msgspec.json.schema_components([*MESSAGES, *BODIES], ref_template="#/$defs/{name}")
    for component in components.values():
        # One Python strips a docstring's indentation, another does not.
        component["description"] = inspect.cleandoc(component["description"])
    closes = {name.lower(): code for name, code in vars(CloseCode).items() if name.isupper()}
    codes: dict[str, Any] = {"error codes": sorted(EnvErrorCode), "actions": sorted(EnvAction)}
    codes |= {"codes of error": sorted(ErrorCode), "close codes": closes}
    return {"protocol": PROTOCOL, **codes, "$defs": components}


def examples() -> dict[str, Any]:
    """Frames, values and spaces, each with its bytes (hex) or text."""
    talked = [
        {"who": who, "message": msgspec.to_builtins(message), "frame": encode_frame(message).hex()}
        for who, message in talk()
    ]
    values = [{"value": name, "bytes": pack(value).hex()} for name, value in VALUES]
    return {"talk": talked, "values": values, "spaces": [space_text(space) for space in SPACES]}


def documents() -> dict[Path, str]:
    """What is to be written, by file."""
    made = {"messages.json": schema(), "examples.json": examples()}
    return {FOLDER / name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in made.items()}


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
    wire_protocol.main()


if __name__ == "__main__":
    main()
