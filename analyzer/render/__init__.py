# SPDX-License-Identifier: Apache-2.0
"""Reports for people and machines: one module for each format, with ``render(report, color=)``."""

from __future__ import annotations

import importlib

from memtrace.analyzer.tables import Report
from memtrace.errors import MemtraceError

FORMATS: dict[str, str] = {
    "text": "memtrace.analyzer.render.text",
    "json": "memtrace.analyzer.render.json",
    "csv": "memtrace.analyzer.render.csv",
    "md": "memtrace.analyzer.render.md",
    "html": "memtrace.analyzer.render.html",
}
"""The words of ``--format`` and the module of each."""


def render(report: Report, name: str, *, color: bool = False) -> str:
    """The report in the format of that name; raises MemtraceError (exit 2) for an unknown one."""
    if name not in FORMATS:
        raise MemtraceError(f"there is no format {name!r}; take one of {', '.join(FORMATS)}", 2)
    text: str = importlib.import_module(FORMATS[name]).render(report, color=color)
    return text
