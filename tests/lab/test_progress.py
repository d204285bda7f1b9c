# SPDX-License-Identifier: Apache-2.0
"""Steps tell when they begin and end, and meanwhile how far they are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from memtrace.lab import progress


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TICK_S", 0.01)


def waits_for(call: Callable[[], str]) -> tuple[Callable[[], str], threading.Event]:
    """The callable, and an event that is set once it has answered twice."""
    answered: list[str] = []
    twice = threading.Event()

    def told() -> str:
        answered.append(call())
        if len(answered) > 2:
            twice.set()
        return answered[-1]

    return told, twice


def test_a_step_tells_its_begin_how_far_it_is_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "memtrace.lab")
    how_far, told = waits_for(lambda: "7 of 9 parts")
    with progress.step("working", how_far):
        assert told.wait(60)
    lines = [(getattr(r, "ongoing", False), r.getMessage()) for r in caplog.records]
    assert lines[0] == (False, "working")
    assert lines[1] == (True, "working: 0 s, 7 of 9 parts")
    assert lines[-1][0] is False and lines[-1][1].startswith("working: done in ")
    assert sum(not ongoing for ongoing, _ in lines) == 2


def test_a_step_that_fails_is_not_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "memtrace.lab")
    before = threading.active_count()
    with pytest.raises(KeyError), progress.step("working"):
        raise KeyError
    assert "done" not in caplog.text
    assert threading.active_count() == before


def test_a_download_is_told_in_megabytes_of_what_it_has_added(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "memtrace.lab")
    (tmp_path / "old.deb").write_bytes(bytes(5_000_000))
    seen = threading.Event()

    def watch(record: logging.LogRecord) -> bool:
        if "2.0 of 4.0 MB" in record.getMessage():
            seen.set()
        return True

    caplog.handler.addFilter(watch)
    with progress.download("kernel", tmp_path, 4_000_000):
        (tmp_path / "new.deb").write_bytes(bytes(2_000_000))
        assert seen.wait(60)
    assert caplog.messages[0] == "downloading kernel, 4.0 MB"


def test_nothing_is_measured_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "memtrace.lab")
    before = threading.active_count()
    with progress.step("working"):
        assert threading.active_count() == before


@pytest.mark.parametrize(("length", "text"), [(0.4, "0 s"), (59.4, "59 s"), (125, "2:05 min")])
def test_lengths(length: float, text: str) -> None:
    assert progress.seconds(length) == text
