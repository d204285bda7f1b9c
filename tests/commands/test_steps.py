# SPDX-License-Identifier: Apache-2.0
"""Steps of the lab on standard error: a line each without a terminal, one that changes with one."""

from __future__ import annotations

import logging

import pytest

from memtrace.commands import status_line, steps
from memtrace.commands.steps import Steps

LOG = logging.getLogger("memtrace.test.steps")


def work() -> None:
    LOG.info("downloading")
    for done in (1, 2):
        LOG.info("downloading: %d of 2 MB", done, extra={"ongoing": True})
    LOG.info("downloading: done")


def test_without_a_terminal_what_goes_on_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps(LOG):
        work()
    assert capsys.readouterr().err == "memtrace: downloading\nmemtrace: downloading: done\n"
    LOG.info("nobody listens any more")
    assert capsys.readouterr().err == ""


def test_without_a_terminal_a_long_step_is_told_seldom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "SELDOM_S", 0.0)
    with Steps(LOG):
        work()
    assert "memtrace: downloading: 2 of 2 MB\n" in capsys.readouterr().err


def test_on_a_terminal_it_takes_the_place_of_what_was_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_line, "takes_controls", lambda stream: True)
    with Steps(LOG):
        work()
    said = capsys.readouterr().err
    # What is no terminal after all gets the text without the sequence that clears the rest of a line.
    assert "\rmemtrace: downloading: 1 of 2 MB\rmemtrace: downloading: 2 of 2 MB\r" in said
    assert said.endswith("\rmemtrace: downloading: done\n")
