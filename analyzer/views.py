# SPDX-License-Identifier: Apache-2.0
"""The views that ``report --view`` offers: one line here and one module each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.keys import DEFAULT, Key
from memtrace.analyzer.tables import Report
from memtrace.errors import MemtraceError

if TYPE_CHECKING:
    from memtrace.traces.reader import Run


@dataclass(frozen=True)
class Result:
    """What a view makes of a run."""

    report: Report
    draw: Callable[[Path], None]
    """Writes the view's figure (PNG or SVG, by the name's suffix)."""


VIEWS: dict[str, str] = {
    "summary": "memtrace.analyzer.summary",
}
"""The words of ``--view`` and the module of each; it has ``view(run, by) -> Result``."""


def view(run: Run, name: str = "summary", by: Sequence[Key] = DEFAULT) -> Result:
    """One view of a run; raises MemtraceError (exit 2) for an unknown one."""
    if name not in VIEWS:
        raise MemtraceError(f"there is no view {name!r}; take one of {', '.join(VIEWS)}", 2)
    result: Result = importlib.import_module(VIEWS[name]).view(run, by)
    return result
