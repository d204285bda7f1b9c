# SPDX-License-Identifier: Apache-2.0
"""Comparisons of folders of runs, as the command makes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from memtrace.analyzer.compare.request import Request, make
from memtrace.tests.analyzer.compare.generated import write_side

Row = dict[str, Any]


def text(*sides: str, **asked: Any) -> str:
    """What the command would print."""
    return make(Request(sides, **asked)).text


@dataclass(frozen=True)
class Compared:
    """What a comparison said, read back from its JSON."""

    exit_code: int
    document: dict[str, Any]

    def change(self, metric: str, after: str | None = None) -> Row:
        """The row of a metric."""
        rows: list[Row] = self.document["tables"]["headline"] + self.document["tables"]["parts"]
        (row,) = (r for r in rows if r["metric"] == metric and after in (None, r["after_side"]))
        return row

    @property
    def findings(self) -> dict[str, str]:
        """Texts of what differs, by id."""
        return {row["id"]: row["text"] for row in self.document["tables"]["comparability"]}

    @property
    def verdicts(self) -> set[str]:
        return {row["verdict"] for row in self.document["tables"]["headline"]}

    @property
    def caveats(self) -> set[str]:
        return {caveat["id"] for caveat in self.document["caveats"]}


Compare = Callable[..., Compared]


@pytest.fixture
def compared() -> Compare:
    """`compared("before", "after", **of Request)`."""

    def run(*sides: str, **asked: Any) -> Compared:
        answer = make(Request(tuple(map(str, sides)), format="json", **asked))
        return Compared(answer.exit_code, json.loads(answer.text))

    return run


@pytest.fixture
def sides(folder: Path) -> Path:
    """Ten boots each of a kernel, of itself, and of one that takes a tenth longer."""
    write_side(folder / "base", 10, seed=1, events=1_500)
    write_side(folder / "same", 10, seed=2, events=1_500, first=20)
    write_side(folder / "slow", 10, seed=3, events=1_500, factor=1.15, first=40)
    return folder
