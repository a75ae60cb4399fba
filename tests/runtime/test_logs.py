"""Every process logs the same way, seen from outside where that matters."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading

import pytest

from runtime.logs import FORMAT_VARIABLE, LINES_AT_ONCE, WordsFormatter, formatter, key_values, logging_aside, printable


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_a_log_line_is_key_value_pairs_on_standard_error() -> None:
    done = run_python(
        "import logging; from runtime.logs import configure_logging, fields; configure_logging('receiver')\n"
        "logging.getLogger('x').info('batch stored', extra=fields(stream='ab', number=7, lag=0.1234567))"
    )
    assert done.stdout == ""
    assert done.stderr.startswith("time=")
    assert done.stderr.endswith('level=info process=receiver event="batch stored" stream=ab number=7 lag=0.123457\n')


def test_a_value_with_a_line_break_cannot_forge_a_second_log_line() -> None:
    assert key_values({"text": 'a\nlevel="error"'}) == 'text="a\\nlevel=\\"error\\""'


@pytest.mark.parametrize(
    ("sign", "shown"),
    [
        ("\x1b", r"\x1b"),
        ("\x07", r"\x07"),
        ("\x7f", r"\x7f"),
        ("\x85", r"\x85"),
        ("\x9b", r"\x9b"),
        ("\u2028", r"\u2028"),
        ("\u2029", r"\u2029"),
        ("\u202e", r"\u202e"),
        ("\u2066", r"\u2066"),
        ("\u200f", r"\u200f"),
        ("\ud800", r"\ud800"),
        ("\r", r"\r"),
    ],
)
def test_what_steers_a_terminal_or_breaks_a_line_is_shown_as_its_escape(sign: str, shown: str) -> None:
    assert key_values({"bridge": f"PC{sign}[2J"}) == f'bridge="PC{shown}[2J"'
    assert printable(f"a\nb{sign}", keep="\n") == f"a\nb{shown}"


def test_letters_of_any_language_stay_as_they_are() -> None:
    assert key_values({"bridge": "Jürgens_PC", "other": "日本"}) == "bridge=Jürgens_PC other=日本"


def test_an_event_without_end_is_counted_not_repeated_and_others_are_still_told() -> None:
    done = run_python(
        "import logging; from runtime.logs import configure_logging, fields; configure_logging('p')\n"
        "for number in range(50_000):\n"
        "    logging.warning('the instance is about to go', extra=fields(reason=number))\n"
        "logging.warning('the link is down')"
    )
    *repeated, other, last = done.stderr.splitlines()
    assert LINES_AT_ONCE <= len(repeated) <= LINES_AT_ONCE + 10
    assert 'event="the link is down"' in other
    # The rest is told at the end, when nothing else did: the newest line and how many there were before it.
    assert "reason=49999" in last
    counted = sum(int(line.rpartition("left_out=")[2]) for line in (*repeated, last) if "left_out=" in line)
    assert len(repeated) + counted + 1 == 50_000


def test_an_exception_stays_on_one_line() -> None:
    done = run_python(
        "import logging; from runtime.logs import configure_logging; configure_logging('p')\n"
        "try: 1 / 0\nexcept ZeroDivisionError: logging.exception('cannot divide')"
    )
    assert len(done.stderr.splitlines()) == 1
    assert "ZeroDivisionError" in done.stderr


def test_an_exception_that_nobody_caught_is_one_line_too_and_the_process_fails() -> None:
    done = run_python("from runtime.logs import configure_logging; configure_logging('p'); 1 / 0")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert 'level=critical process=p event="ended by an unexpected error"' in line
    assert "ZeroDivisionError" in line


def test_a_thread_that_dies_says_its_name() -> None:
    done = run_python(
        "import threading; from runtime.logs import configure_logging; configure_logging('p')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='backup'); thread.start(); thread.join()"
    )
    (line,) = done.stderr.splitlines()
    assert "thread=backup" in line
    assert "ZeroDivisionError" in line


def test_configuring_twice_writes_each_line_once() -> None:
    done = run_python(
        "import logging; from runtime.logs import configure_logging\n"
        "configure_logging('a'); configure_logging('b'); logging.warning('once')"
    )
    assert len(done.stderr.splitlines()) == 1
    assert "process=b" in done.stderr


def test_a_log_that_is_written_aside_is_whole_and_in_order_also_after_an_error() -> None:
    done = run_python(
        "import logging; from runtime.logs import configure_logging, fields, logging_aside; configure_logging('p')\n"
        "with logging_aside():\n"
        "    for number in range(500): logging.info('line %d', number, extra=fields(number=number))\n"
        "    try: 1 / 0\n"
        "    except ZeroDivisionError: logging.exception('caught')\n"
        "    raise RuntimeError('the end')"
    )
    lines = done.stderr.splitlines()
    assert [f'event="line {number}" number={number}' in line for number, line in enumerate(lines[:500])] == [True] * 500
    assert "event=caught" in lines[500]
    assert "ZeroDivisionError" in lines[500]
    assert 'event="ended by an unexpected error"' in lines[501]
    assert len(lines) == 502


def test_a_line_that_cannot_be_written_does_not_end_a_log_that_is_written_aside() -> None:
    done = run_python(
        "import logging; from runtime.logs import configure_logging, fields, logging_aside; configure_logging('p')\n"
        "class Broken:\n    def __str__(self): raise TypeError('no text')\n"
        "with logging_aside():\n"
        "    logging.info('broken', extra=fields(value=Broken()))\n"
        "    logging.info('whole')"
    )
    assert done.returncode == 0
    assert "event=whole" in done.stderr.splitlines()[-1]


def test_who_logs_aside_never_waits_and_loses_the_newest_lines_at_most() -> None:
    goes_on, written = threading.Event(), []

    class Stalled(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            goes_on.wait(120)
            written.append(record.getMessage())

    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], [Stalled()]
    try:
        with logging_aside():
            for number in range(20_000):
                root.warning("line %d", number)
            assert not written
            goes_on.set()
    finally:
        root.handlers[:] = before
    assert 10_000 <= len(written) <= 10_001
    assert written[:2] == ["line 0", "line 1"]


def test_words_for_people_tell_what_went_wrong_and_the_fields() -> None:
    lines = run_python(
        "import logging; from runtime.logs import configure_logging, fields;"
        "configure_logging('bridge', format='words');"
        "logging.warning('the link is down', extra=fields(retry_in_s=2.0, reason='no\\x1b[31m route'));"
        "logging.info('driving', extra=fields(says='3 laps, best 1:02.000', done='12/40', per_second=3.0, left='2m'))"
    ).stderr.splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d bridge: WARNING: the link is down \(retry in s 2, reason no\\x1b\[31m route\)", lines[0]
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d bridge: driving: 3 laps, best 1:02\.000 \(done 12/40, left 2m\)", lines[1])


@pytest.mark.parametrize(("chosen", "words"), [("words", True), ("key-value", False), ("nonsense", False), ("", False)])
def test_the_environment_chooses_how_the_log_speaks(monkeypatch: pytest.MonkeyPatch, chosen: str, words: bool) -> None:
    monkeypatch.setenv(FORMAT_VARIABLE, chosen)
    assert isinstance(formatter("x"), WordsFormatter) is words
    assert isinstance(formatter("x", "words"), WordsFormatter)
