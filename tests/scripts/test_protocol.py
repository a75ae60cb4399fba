"""docs/protocol says what the code does: programs of others, in other languages, are written by it."""

import json
from pathlib import Path

import msgspec
import pytest

from experience.spaces import read_space, space_text
from experience.values import pack, unpack
from scripts.protocol import VALUES, documents, examples
from tests.experience.test_values import same
from wire.frames import decode_down, decode_up


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_it_is_not_stale(path: Path) -> None:
    said, now = json.loads(path.read_text(encoding="utf-8")), json.loads(documents()[path])
    assert said == now, (
        "The messages about remote environments have changed, and with them those of every program that others wrote "
        "by docs/protocol. Where that is meant: `make protocol`, and another PROTOCOL where an old peer cannot go on."
    )


def test_every_frame_of_the_examples_is_read_as_the_message_beside_it() -> None:
    for said in examples()["talk"]:
        decode = decode_up if said["who"].startswith("bridge") else decode_down
        assert msgspec.to_builtins(decode(bytes.fromhex(said["frame"]))) == said["message"]


def test_every_value_and_space_of_the_examples_is_read_back() -> None:
    for (_, value), said in zip(VALUES, examples()["values"], strict=True):
        assert same(pack(unpack(bytes.fromhex(said["bytes"]))), pack(value))
    for text in examples()["spaces"]:
        assert space_text(read_space(text)) == text
