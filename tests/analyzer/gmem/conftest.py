# SPDX-License-Identifier: Apache-2.0
"""The gmem view of generated events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from memtrace.analyzer.tables import Report
from memtrace.analyzer.views import Choice, view
from memtrace.tests.analyzer.gmem.host import Host, case
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run


@pytest.fixture
def report_of(run_of: Callable[[Case | str], Run]) -> Callable[..., Report]:
    def make(host: Host, kind: str = "snp", **changes: Any) -> Report:
        return view(run_of(case(host, kind, **changes)), "gmem", Choice(what_if=True)).report

    return make
