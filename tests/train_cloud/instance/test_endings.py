"""The file by which an ending is decided."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from train_cloud.instance.endings import decide, decided
from train_cloud.run_folder.states import Reason


def test_an_ending_is_a_reason_and_a_sentence(tmp_path: Path) -> None:
    assert not decided(tmp_path)
    assert decide(tmp_path, Reason.IDLE, "Nobody\ncame.")
    assert (tmp_path / "ending").read_text() == "idle\nNobody came.\n"
    assert decided(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["ending"]


def test_the_first_decision_wins(tmp_path: Path) -> None:
    assert decide(tmp_path, Reason.FAILED, "First.")
    assert not decide(tmp_path, Reason.FINISHED, "Second.")
    assert (tmp_path / "ending").read_text() == "failed\nFirst.\n"


def test_of_many_who_decide_at_once_one_wins(tmp_path: Path) -> None:
    def one(number: int) -> bool:
        return decide(tmp_path, Reason.STOPPED, f"Number {number}.")

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(one, range(8)))
    assert sum(won) == 1
    assert (tmp_path / "ending").read_text() == f"stopped\nNumber {won.index(True)}.\n"
