"""The doctor's messages and the page that lists them cannot drift apart."""

from pathlib import Path

from bridge.doctor.messages import Finding, Message, Severity, table
from bridge.doctor.report import line

PAGE = Path(__file__).parents[3] / "docs" / "gaming-pc.md"


def test_the_page_lists_every_message_as_the_code_has_it() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), "put what bridge.doctor.messages.table() returns into the page"


def test_whatever_is_wrong_or_missing_comes_with_the_way_to_mend_it() -> None:
    assert [message.name for message in Message if message.severity is not Severity.OK and not message.mend] == []


def test_a_finding_is_one_line() -> None:
    text = line(Finding(Message.NOT_LIVE, {"status": "pause"}))
    assert text.startswith("wrong    live: the game shows a pause")
    assert "  ->  " in text
    assert "\n" not in text
