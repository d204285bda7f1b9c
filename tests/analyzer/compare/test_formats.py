# SPDX-License-Identifier: Apache-2.0
"""A comparison in each format, and its figure."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from memtrace.tests.analyzer.compare.conftest import text


def test_text_is_for_mail(sides: Path) -> None:
    page = text("base", "same", "slow", plan="5%", fail_on=("alloc.p50>+5%",))
    assert page.isascii()
    assert max(map(len, page.splitlines())) < 80
    assert page.index("What else differs") < page.index("Headline")
    assert re.search(r"alloc\.p50 .*\( \+1\d\.\d%\) .*worse", page)


def test_csv_is_the_headline_or_the_table_asked_for(sides: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(text("base", "slow", format="csv"))))
    assert {row["metric"] for row in rows} >= {"alloc.total", "alloc.bytes", "alloc.p99"}
    parts = list(csv.DictReader(io.StringIO(text("base", "slow", format="csv", table="parts"))))
    assert {row["cell"] for row in parts} >= {"order=0,node=0", "order=0,node=1"}


def test_html_needs_nothing_from_elsewhere(sides: Path) -> None:
    page = text("base", "slow", format="html")
    assert page.startswith("<!DOCTYPE html>")
    assert "<svg" in page and "worse" in page
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"'#][^"']*)""", page)
    assert loaded == [] and "<script" not in page and "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_markdown_has_the_same_numbers(sides: Path) -> None:
    page = text("base", "slow", format="md")
    assert re.search(r"\| alloc\.p50 \|.*\| worse \|", page)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_figure_is_drawn(sides: Path, suffix: str) -> None:
    path = sides / f"figure.{suffix}"
    text("base", "same", "slow", plot=path)
    assert path.stat().st_size > 10_000
    if suffix == "svg":
        drawn = path.read_bytes()
        text("base", "same", "slow", plot=path)
        assert path.read_bytes() == drawn
