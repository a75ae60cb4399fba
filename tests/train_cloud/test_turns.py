"""What waits for the driver: each bridge's in order, all bridges in turn, of frames the newest."""

from tests.support.telemetry import frame
from train_cloud.driver_messages import Joined, Left, Seen, ToDriver
from train_cloud.turns import MOST_FRAMES, Turns


def taken(turns: Turns) -> list[ToDriver]:
    found: list[ToDriver] = []
    while turns:
        found.append(turns.take())
    return found


def test_a_bridge_that_says_much_lets_the_others_have_their_turn() -> None:
    turns = Turns()
    for number in range(20):
        turns.put(Seen("much", frame(number)))
    turns.put(Seen("little", frame(0)))
    assert [turns.take().stream for _ in range(3)] == ["much", "little", "much"]
    assert turns.waits("much")
    assert not turns.waits("little")


def test_an_end_is_told_after_the_frames_before_it() -> None:
    turns = Turns()
    told: list[ToDriver] = [Joined("a", "pc", "t"), Seen("a", frame(1)), Left("a"), Joined("a", "pc", "t")]
    for message in told:
        turns.put(message)
    assert taken(turns) == told


def test_too_many_frames_cost_their_own_bridge_the_oldest() -> None:
    turns = Turns()
    turns.put(Joined("a", "pc", "t"))
    turns.put(Seen("b", frame(0)))
    for number in range(MOST_FRAMES + 3):
        turns.put(Seen("a", frame(number), lost=number == 0))
    by_stream: dict[str, list[ToDriver]] = {"a": [], "b": []}
    for message in taken(turns):
        by_stream[message.stream].append(message)
    assert by_stream["b"] == [Seen("b", frame(0))]
    joined, first, *others = by_stream["a"]
    assert isinstance(joined, Joined)
    assert first == Seen("a", frame(3), lost=4)
    assert others == [Seen("a", frame(number)) for number in range(4, MOST_FRAMES + 3)]
