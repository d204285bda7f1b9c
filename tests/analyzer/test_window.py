# SPDX-License-Identifier: Apache-2.0
"""``--window``: words to nanoseconds, and what is said of words that mean nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memtrace.analyzer.window import parse_window
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.recorded import START, Case
from memtrace.traces.reader import Run

SECOND = 10**9


@pytest.mark.parametrize(
    ("words", "begin", "end"),
    [
        ("1000.5..1001", START + SECOND // 2, START + SECOND),
        ("+0.25..+1s", START + SECOND // 4, START + SECOND),
        ("1000.5..+1.5", START + SECOND // 2, START + 3 * SECOND // 2),
        ("..+1", START, START + SECOND),
        ("+1..", START + SECOND, START + 2 * SECOND),
        ("990..2000", 990 * SECOND, 2000 * SECOND),
    ],
)
def test_a_window_is_read(words: str, begin: int, end: int, run_of: Callable[[Case | str], Run]) -> None:
    window = parse_window(words)
    assert window is not None and window.of(run_of("streamed")) == (begin, end)


@pytest.mark.parametrize("words", ["", "..", "5", "a..b", "1..2..3", "-1..2", "1,5..2", "+..2"])
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(MemtraceError, match=r"takes A\.\.B in seconds since boot") as refused:
        parse_window(words)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("+1..+0.5", "ends at 1000.500 s and begins at 1001.000 s"),
        ("+1..+1", "ends at 1001.000 s and begins at 1001.000 s"),
        ("10..20", "outside the run; the run was recorded from 1000.000 to 1002.000 s after boot"),
        ("+2..+3", "outside the run"),
    ],
)
def test_a_window_that_the_run_does_not_have_is_refused(
    words: str, why: str, run_of: Callable[[Case | str], Run]
) -> None:
    window = parse_window(words)
    assert window is not None
    with pytest.raises(MemtraceError, match=why) as refused:
        window.of(run_of("streamed"))
    assert refused.value.exit_code == 2


def test_no_window_is_none() -> None:
    assert parse_window(None) is None
