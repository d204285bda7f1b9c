# SPDX-License-Identifier: Apache-2.0
"""What a run of the tests says at its end: how many guests it booted, and for how long."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from memtrace.lab import journal


def pytest_configure(config: pytest.Config) -> None:
    """The process that prints makes the journal; its workers inherit the name."""
    if not hasattr(config, "workerinput") and journal.JOURNAL not in os.environ:
        handle, name = tempfile.mkstemp(prefix="memtrace-boots-")
        os.close(handle)
        os.environ[journal.JOURNAL] = name
        config.add_cleanup(lambda: _forget(name))


def _forget(name: str) -> None:
    os.environ.pop(journal.JOURNAL, None)
    Path(name).unlink(missing_ok=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line where guests were booted."""
    boots = journal.read(Path(os.environ[journal.JOURNAL]))
    if boots:
        minutes = sum(boot.seconds for boot in boots) / 60
        terminalreporter.line(f"guests: {len(boots)} boots, {minutes:.1f} minutes of QEMU")
