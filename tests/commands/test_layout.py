# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shlex

from memtrace.commands.layout import WIDTH, columns, command, sentences


def test_columns_are_aligned_and_the_last_is_wrapped_below_itself() -> None:
    text = columns([("a", "bb", "x " * 60), ("ccc", "d", "y")])
    lines = text.splitlines()
    assert lines[0].startswith("  a    bb  x x")
    assert lines[1].startswith("           x x")
    assert lines[-1] == "  ccc  d   y"
    assert max(map(len, lines)) <= WIDTH


def test_a_cell_too_wide_pushes_the_rest_to_the_next_line() -> None:
    lines = columns([("a", "first"), ("b" * 30, "second")], widest=10).splitlines()
    assert lines == ["  a  first", "  " + "b" * 30, "     second"]


def test_a_row_may_have_an_empty_last_cell_and_none_may_have_rows() -> None:
    assert columns([("a", "")]) == "  a"
    assert columns([]) == ""


def test_the_lines_of_an_item_align_with_its_first() -> None:
    lines = sentences("word " * 40, first="- ").splitlines()
    assert lines[0].startswith("  - word")
    assert all(line.startswith("    word") for line in lines[1:])


def test_a_command_continued_over_lines_is_still_the_same_command() -> None:
    text = "sudo systemd-run --pty --uid=1000 --property='A=CAP_BPF CAP_PERFMON' /bin/memtrace record"
    shown = command(text)
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert len(shown.splitlines()) > 1
    assert shlex.split(shown.replace("\\\n", " ")) == shlex.split(text)
