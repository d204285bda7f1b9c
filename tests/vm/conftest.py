# SPDX-License-Identifier: Apache-2.0
"""Guests for the tests: `guest` boots one, `leaves_nothing` holds that nothing is left of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memtrace.lab import job
from memtrace.lab.guest import run_guest
from memtrace.lab.spec import GuestResult, GuestSpec

Guest = Callable[..., GuestResult]
LIMIT_S = 600.0
"""Several times what any guest takes on an idle host."""


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    """`guest(kernel, script, **of GuestSpec)`: boots, and returns what it gave."""

    def boot(kernel: str, script: str, **changes: Any) -> GuestResult:
        spec = GuestSpec(kernel, script, **{"time_limit_s": LIMIT_S, **changes})
        return run_guest(spec, tmp_path / "results")

    return boot


def qemus(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu" in words.split(b"\0")[0] and os.fsencode(folder) in words:
            found.append(int(entry.name))
    return found


@pytest.fixture
def leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test, however it ended: no QEMU, no job folder, no mount more than before."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    yield
    assert qemus(tmp_path) == []
    assert list(scratch.glob(job.PREFIX + "*")) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
