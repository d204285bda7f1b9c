# SPDX-License-Identifier: Apache-2.0
"""Bad input: one sentence, and an exit status that says whose fault it is."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memtrace.analyzer.compare.request import Request, make
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.compare.generated import rows_of, write_run, write_side
from memtrace.traces.run import RunHeader, RunStatus
from memtrace.traces.totals import Losses


def refused(*sides: str, **asked: Any) -> tuple[int, str]:
    with pytest.raises(MemtraceError) as caught:
        make(Request(sides, **asked))
    message = str(caught.value)
    assert "\n" not in message
    return caught.value.exit_code, message


def test_the_same_run_twice_is_refused(sides: Path) -> None:
    assert refused("base", "base") == (
        2,
        "base/boot-000.parquet of base is given twice; give each run once",
    )
    shutil.copytree(sides / "base", sides / "copy")
    assert (
        "copy/boot-000.parquet of copy is the same run as base/boot-000.parquet" in refused("base", "copy")[1]
    )
    (sides / "link").symlink_to(sides / "slow")
    assert refused("slow", "link")[0] == 2


def test_the_same_run_twice_is_named_by_the_words_given(sides: Path) -> None:
    shutil.copy(sides / "base" / "boot-000.parquet", "a.parquet")
    shutil.copy("a.parquet", "z.parquet")
    assert refused("a.parquet", "z.parquet")[1] == (
        "z.parquet is the same run as a.parquet; give each run once"
    )
    assert refused("a.parquet", "./a.parquet")[1] == "a.parquet is given twice; give each run once"
    assert refused("base", "z.parquet")[1] == (
        "z.parquet is the same run as base/boot-000.parquet of base; give each run once"
    )
    assert refused("base", "base/*.parquet")[1] == (
        "base/boot-000.parquet of base/*.parquet is the same run as base too; give each run once"
    )


def test_what_holds_no_runs_is_refused(sides: Path) -> None:
    (sides / "empty").mkdir()
    for word, part in {
        "empty": "no *.parquet",
        "missing": "does not exist",
        "no*thing": "nothing matches",
    }.items():
        code, message = refused("base", word)
        assert (code, part in message) == (2, True), message


def test_a_file_that_was_named_and_cannot_be_read_is_2(sides: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), sides / "other.parquet")
    (sides / "text.parquet").write_text("hello")
    for word, part in {"other.parquet": "not of memtrace", "text.parquet": "not parquet"}.items():
        code, message = refused("base", word)
        assert (code, part in message) == (2, True), message


def test_what_was_cut_short_at_its_beginning_is_no_evidence(sides: Path) -> None:
    """A bisection skips such a commit, and does not end at it."""
    whole = (sides / "base" / "boot-000.parquet").read_bytes()
    (sides / "begun").mkdir()
    for name in ("1.parquet", "2.parquet"):
        (sides / "begun" / name).write_bytes(whole[:8])
    said = "cut short, or still being recorded; wait, or record"
    assert refused("base", "begun") == (125, f"all 2 runs of begun are {said} them again")
    assert refused("base", "begun/1.parquet") == (125, f"begun/1.parquet is {said} it again")
    (sides / "begun" / "text.parquet").write_text("hello")
    code, message = refused("base", "begun/t*.parquet")
    assert (code, "no run of t* can be compared: begun/text.parquet is not a run" in message) == (125, True)


def test_a_side_without_evidence_is_125(folder: Path) -> None:
    def losing(made: RunHeader, ended: RunStatus) -> tuple[RunHeader, RunStatus]:
        return made, dataclasses.replace(ended, losses=Losses(ring_full=500, no_room=0), counters=())

    write_side(folder / "good", 3)
    for i in range(3):
        write_run(folder / "lost" / f"{i}.parquet", [], 20 + i, edit=losing)
        write_run(folder / "killed" / f"{i}.parquet", rows_of([5.0]), 30 + i, cut_short=True)
    assert refused("good", "lost")[0] == 125
    assert "all events of lost were lost" in refused("good", "lost")[1]
    assert refused("good", "killed") == (
        125,
        "all 3 runs of killed are cut short, or still being recorded; wait, or record them again",
    )


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"fail_on": ("accept.total",)}, "does not understand"),
        ({"fail_on": ("alloc.total>5",)}, "does not understand"),
        ({"fail_on": ("nothing.total>5%",)}, "names no metric"),
        ({"confidence": "high"}, "--confidence takes"),
        ({"confidence": "100%"}, "--confidence takes"),
        ({"margin": "-1%"}, "--margin takes"),
        ({"plan": "0%"}, "--plan takes"),
        ({"format": "pdf"}, "--format knows no"),
        ({"by": "colour"}, "--by knows no"),
        ({"table": "none"}, "has no table"),
        ({"metric": ("nothing",)}, "no metric begins"),
        ({"plot": Path("x.gif")}, "--plot writes"),
        ({"calibrate": "base"}, "--calibrate takes"),
    ],
    ids=str,
)
def test_words_that_mean_nothing_are_refused(sides: Path, asked: dict[str, Any], part: str) -> None:
    code, message = refused("base", "slow", **asked)
    assert (code, part in message) == (2, True), message


def test_one_side_alone_is_refused(sides: Path) -> None:
    assert refused("base")[0] == 2
    assert refused()[0] == 2
    assert refused("base", plan="5%", fail_on=("alloc.p50>1%",))[0] == 2
