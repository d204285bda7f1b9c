# SPDX-License-Identifier: Apache-2.0
"""Whole reports, compared letter by letter.

``MEMTRACE_RENEW_GOLDEN=1 pytest tests/analyzer/test_golden.py`` writes them anew;
read the difference before you commit it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.report import Request, make
from memtrace.tests.analyzer.goldens import as_it_was, fits_mail, none_left_over

GOLDEN = Path(__file__).parent / "golden"

WANTED: dict[str, tuple[str, dict[str, Any]]] = {
    "streamed.txt": ("streamed", {}),
    "streamed.json": ("streamed", {"format": "json"}),
    "streamed.md": ("streamed", {"format": "md"}),
    "streamed.csv": ("streamed", {"format": "csv"}),
    "streamed-tasks.csv": ("streamed", {"format": "csv", "table": "tasks"}),
    "streamed-by-comm-gfp.txt": ("streamed", {"by": "comm,gfp", "table": "main"}),
    "streamed-by-flags-parent.txt": ("streamed", {"by": "flags,parent,cpu", "table": "main"}),
    "aggregated.txt": ("aggregated", {}),
    "aggregated-by-pid.txt": ("aggregated", {"by": "pid", "table": "main"}),
    "tracepoint.txt": ("tracepoint", {}),
    "tracepoint.md": ("tracepoint", {"format": "md"}),
    "sampled.txt": ("sampled", {}),
    "sampled.csv": ("sampled", {"format": "csv"}),
    "lossy.txt": ("lossy", {}),
    "cut_short.txt": ("cut_short", {}),
    "own_and_failed.txt": ("own_and_failed", {}),
    "stacks.txt": ("stacks", {}),
    "stacks-by-caller.txt": ("stacks", {"by": "caller,order", "table": "main"}),
    "stacks-by-stack.txt": ("stacks", {"by": "stack", "table": "main"}),
    "disagreeing.txt": ("disagreeing", {}),
    "empty.txt": ("empty", {}),
    "zeroing.txt": ("zeroing", {"view": "zero"}),
    "zeroing-what-if.txt": ("zeroing", {"view": "zero", "what_if": True}),
    "zeroing.json": ("zeroing", {"view": "zero", "format": "json", "table": "main"}),
    "zeroing-whatifs.csv": ("zeroing", {"view": "zero", "format": "csv", "table": "whatifs"}),
    "clears-by-tree.txt": ("clears", {"view": "zero", "by": "tree"}),
    "clears-by-tree.md": ("clears", {"view": "zero", "by": "tree", "format": "md", "table": "tree"}),
    "clears-by-task.txt": ("clears", {"view": "zero", "by": "task"}),
    "clears-by-cgroup.csv": ("clears", {"view": "zero", "by": "cgroup", "format": "csv"}),
    "clears-by-stack.txt": ("clears", {"view": "zero", "by": "stack", "table": "stacks"}),
    "summed-by-tree.txt": ("clears-summed", {"view": "zero", "by": "tree", "table": "tree"}),
    "summed-by-task.txt": ("clears-summed", {"view": "zero", "by": "task", "table": "tasks"}),
    "summed-by-cgroup.txt": ("clears-summed", {"view": "zero", "by": "cgroup", "table": "cgroups"}),
    "summed-by-stack.txt": ("clears-summed", {"view": "zero", "by": "stack"}),
    "tracepoint-by-tree.txt": ("tracepoint", {"view": "zero", "by": "tree", "table": "tree"}),
    "tracepoint-by-task.txt": ("tracepoint", {"view": "zero", "by": "task", "table": "tasks"}),
    "tracepoint-zero.txt": ("tracepoint", {"view": "zero"}),
    "sampled-zero.txt": ("sampled", {"view": "zero"}),
    "empty.json": ("empty", {"format": "json"}),
}
"""The golden files: which case, and what is asked of it."""


@pytest.mark.parametrize("name", WANTED)
def test_the_report_is_as_it_was(name: str, run_of: Callable[..., Any]) -> None:
    case, asked = WANTED[name]
    text = make(Request((str(run_of(case).path),), **asked))
    as_it_was(GOLDEN / name, text)


def test_no_golden_file_is_left_over() -> None:
    none_left_over(GOLDEN, WANTED)


@pytest.mark.parametrize("name", [name for name in WANTED if name.endswith(".txt")])
def test_a_page_can_be_pasted_into_mail(name: str) -> None:
    fits_mail(GOLDEN / name)
