# SPDX-License-Identifier: Apache-2.0
"""Guests for the tests: `guest` boots one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
