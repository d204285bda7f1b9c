# SPDX-License-Identifier: Apache-2.0
"""Whole reports of acceptance, compared letter by letter; renewed as those of test_golden.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.report import Request, make
from memtrace.tests.analyzer.accept.cases import CASES
from memtrace.tests.analyzer.goldens import as_it_was, fits_mail, none_left_over

GOLDEN = Path(__file__).parent / "golden"

WANTED: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{name}.txt": (name, {}) for name in CASES},
    **{f"{name}-what-if.txt": (name, {"what_if": True}) for name in ("lazy", "eager_seen", "two_sizes")},
    "lazy.json": ("lazy", {"format": "json"}),
    "lazy.md": ("lazy", {"format": "md"}),
    "lazy.csv": ("lazy", {"format": "csv"}),
    "lazy-window.csv": ("lazy", {"format": "csv", "table": "window", "window": "+0..+0.5"}),
    "lazy-window.txt": ("lazy", {"window": "1004..1005.5"}),
    "plain.json": ("plain", {"format": "json"}),
    "plain.csv": ("plain", {"format": "csv"}),
}
"""The golden files: which case, and what is asked of it."""


@pytest.mark.parametrize("name", WANTED)
def test_the_report_is_as_it_was(name: str, accept_run: Callable[..., Any]) -> None:
    case, asked = WANTED[name]
    text = make(Request((str(accept_run(case).path),), view="accept", **asked))
    as_it_was(GOLDEN / name, text)


def test_no_golden_file_is_left_over() -> None:
    none_left_over(GOLDEN, WANTED)


@pytest.mark.parametrize("name", [name for name in WANTED if name.endswith(".txt")])
def test_a_page_can_be_pasted_into_mail(name: str) -> None:
    fits_mail(GOLDEN / name)
