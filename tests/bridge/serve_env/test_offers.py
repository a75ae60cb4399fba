"""A PC offers what its command line names, and says in a sentence why it cannot."""

import sys
from pathlib import Path

import pytest

from bridge.serve_env.offers import OfferError, offers_of

MODULE = """
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv
class Mine(PendulumEnv): pass
gymnasium.register("OnlyAfterImport-v0", Mine)
there_is_no_call = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "a_persons_own.py").write_text(MODULE)
    (tmp_path / "a_broken_one.py").write_text("1 / 0")
    return tmp_path


def test_ids_of_gymnasium_and_own_code_are_offered(folder: Path) -> None:
    names = ["CartPole-v1", "a_persons_own:Mine", "a_persons_own:OnlyAfterImport-v0"]
    offers = offers_of(names, folder)
    assert [type(offers[name]().unwrapped).__name__ for name in names] == ["CartPoleEnv", "Mine", "Mine"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NoSuchThing-v0", "Gymnasium knows no environment 'NoSuchThing-v0'"),
        ("no_such_module:Env", "in the folder that holds the module, or install it"),
        ("a_persons_own:Other", "has no Other"),
        ("a_persons_own:there_is_no_call", "no function that makes an environment"),
        ("a_broken_one:Env", "raised ZeroDivisionError"),
    ],
)
def test_what_cannot_be_offered_is_told(folder: Path, name: str, words: str) -> None:
    with pytest.raises(OfferError, match=words):
        offers_of([name], folder)
