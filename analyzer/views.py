# SPDX-License-Identifier: Apache-2.0
"""The views that ``report --view`` offers: one line here and one module each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memtrace.analyzer.keys import DEFAULT, Key, parse_keys
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


@dataclass(frozen=True)
class Choice:
    """What a view is asked for beside the run."""

    by: Sequence[Key] = DEFAULT
    """What the main table is grouped by, for views that take ``--by``."""
    window: tuple[int, int] | None = None
    """Only what touches this stretch, CLOCK_BOOTTIME ns; None: the whole run."""
    grouping: str | None = None
    """One of the view's own groupings (GROUPINGS), None for its usual tables."""
    guest: Path | None = None
    """Run of a guest of this host, for views that put both on one clock."""
    what_if: bool = False
    """Also the tables of WHAT_IFS."""


PLAIN = Choice()


VIEWS: dict[str, str] = {
    "summary": "memtrace.analyzer.summary",
    "boot": "memtrace.analyzer.boot.view",
    "accept": "memtrace.analyzer.accept.view",
    "hotplug": "memtrace.analyzer.hotplug.view",
    "zero": "memtrace.analyzer.zero.view",
    "gmem": "memtrace.analyzer.gmem.view",
}
"""The words of ``--view`` and the module of each; it has ``view(run, choice) -> Result``."""

GROUPINGS: dict[str, tuple[str, ...]] = {"zero": ("tree", "task", "cgroup", "stack")}
"""Views whose ``--by`` takes words of their own, one at a time."""


WHAT_IFS: dict[str, tuple[str, ...]] = {
    "accept": ("eager", "lazy", "background", "granule"),
    "zero": ("whatifs",),
    "gmem": ("whatif",),
}
"""Tables of predictions, which a view has only if it is asked for them."""

WINDOWED = ("accept", "hotplug")
"""Views that look at a part of the run with ``--window``."""


def choice_by(name: str, by: str | None) -> Choice:
    """What ``--by`` asks of a view; raises MemtraceError (exit 2) for a word that it does not know."""
    if name not in GROUPINGS or by is None:
        return Choice(parse_keys(by))
    word = by.strip().lower()
    if word not in GROUPINGS[name]:
        words = ", ".join(GROUPINGS[name])
        raise MemtraceError(
            f"--by knows no {by!r} in the {name} view: it takes one of {words} (keys go with --view summary)",
            2,
        )
    return Choice(grouping=word)


def check(name: str, choice: Choice) -> None:
    """Raises MemtraceError (exit 2) for an unknown view, and for what a view would pass over in silence."""
    if name not in VIEWS:
        raise MemtraceError(f"--view knows no {name!r}; it takes {', '.join(VIEWS)}", 2)
    if tuple(choice.by) != tuple(DEFAULT) and name != "summary":
        raise MemtraceError(f"the {name} view has its own tables: leave out --by, or take --view summary", 2)
    if choice.window is not None and name not in WINDOWED:
        views = " or ".join(WINDOWED)
        raise MemtraceError(f"the {name} view is of a whole run: --window goes with --view {views}", 2)
    if choice.what_if and name not in WHAT_IFS:
        raise MemtraceError(
            f"the {name} view has no what-ifs: --what-if goes with --view {' or '.join(WHAT_IFS)}", 2
        )
    if choice.what_if and choice.grouping is not None:
        raise MemtraceError("--what-if is of the whole run: leave out --by", 2)
    if choice.guest is not None and name != "gmem":
        raise MemtraceError("--guest goes with --view gmem: give both, and the host's run", 2)


def view(run: Run, name: str = "summary", choice: Choice = PLAIN) -> Result:
    """One view of a run; raises MemtraceError (exit 2) for what ``check`` refuses."""
    check(name, choice)
    result: Result = importlib.import_module(VIEWS[name]).view(run, choice)
    return result
