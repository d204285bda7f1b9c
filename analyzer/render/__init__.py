# SPDX-License-Identifier: Apache-2.0
"""Reports for people and machines: one module for each format.

Those for people have ``render(page, color=)`` and show a page; those for machines have
``render(report)`` and give all that its tables have.
"""

from __future__ import annotations

import importlib

from memtrace.analyzer.tables import Report
from memtrace.errors import MemtraceError

PAGES = ("text", "md", "html")
DATA = ("json", "csv")
FORMATS = ("text", "json", "csv", "md", "html")
"""The words of ``--format``, each the name of a module here."""


def render(report: Report, name: str, *, color: bool = False) -> str:
    """The report in the format of that name; raises MemtraceError (exit 2) for an unknown one."""
    from memtrace.analyzer.page.page import page

    if name not in FORMATS:
        raise MemtraceError(f"there is no format {name!r}; take one of {', '.join(FORMATS)}", 2)
    module = importlib.import_module(f"memtrace.analyzer.render.{name}")
    text: str = module.render(report) if name in DATA else module.render(page(report), color=color)
    return text
