# SPDX-License-Identifier: Apache-2.0
"""A series of boots: its order, and what its folder may be used for."""

from pathlib import Path

import pytest

from memtrace.errors import MemtraceError
from memtrace.lab.plugging import parse
from memtrace.lab.series import Series, Side, order, run_series

AB = (Side("before", "kernel-a"), Side("after", "kernel-b"))


def test_two_kernels_alternate_so_that_drift_favours_neither() -> None:
    made = "".join("A" if boot.side.name == "before" else "B" for boot in order(Series(AB, 4)))
    assert made == "ABBAABBA"


def test_each_side_numbers_its_own_boots() -> None:
    numbers = [boot.number for boot in order(Series(AB, 3)) if boot.side.name == "after"]
    assert numbers == [1, 2, 3]


def test_a_whole_series_boots_nothing_again(tmp_path: Path) -> None:
    series = Series(AB, 1)
    for boot in order(series):
        folder = tmp_path / boot.side.name
        folder.mkdir()
        (folder / f"{boot.stem}.parquet").write_bytes(b"a run")
    reported: list[object] = []
    assert len(run_series(series, tmp_path, reported.append)) == 2
    assert not reported


def test_a_folder_with_runs_of_another_series_is_refused(tmp_path: Path) -> None:
    run_series(Series(AB, 0), tmp_path, lambda progress: None)
    (tmp_path / "before" / "boot-001.parquet").write_bytes(b"a run")
    with pytest.raises(MemtraceError, match="holds a series with other kernels"):
        run_series(Series(AB, 0, memory=(1 << 30,)), tmp_path, lambda progress: None)


def test_runs_by_another_clock_are_another_series(tmp_path: Path) -> None:
    run_series(Series(AB, 0), tmp_path, lambda progress: None)
    (tmp_path / "before" / "boot-001.parquet").write_bytes(b"a run")
    with pytest.raises(MemtraceError, match="holds a series with other kernels"):
        run_series(Series(AB, 0, clock="instructions"), tmp_path, lambda progress: None)


def test_a_folder_in_which_nothing_came_about_is_free(tmp_path: Path) -> None:
    run_series(Series(AB, 0), tmp_path, lambda progress: None)
    run_series(Series(AB, 0, memory=(1 << 30,)), tmp_path, lambda progress: None)
    with pytest.raises(MemtraceError, match="neither a kernel of the list"):
        run_series(Series(AB, 1), tmp_path, lambda progress: None)


def test_more_boots_of_the_same_series_are_welcome(tmp_path: Path) -> None:
    run_series(Series(AB, 0), tmp_path, lambda progress: None)
    (tmp_path / "before" / "boot-001.parquet").write_bytes(b"a run")
    (tmp_path / "after" / "boot-001.parquet").write_bytes(b"a run")
    assert len(run_series(Series(AB, 1), tmp_path, lambda progress: None)) == 2


def test_an_unwritable_folder_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemtraceError, match="give another folder with -o"):
        run_series(Series(AB, 1), tmp_path / "file", lambda progress: None)


def test_the_default_workload_touches_every_node_that_has_memory() -> None:
    script = Series(AB, 1, memory=(1 << 30, 0, 1 << 30)).script()
    assert " 4096 16 0 2 >$LAB/stdout " in script


def test_a_workload_is_quoted() -> None:
    assert Series(AB, 1, workload=("sh", "-c", "a b")).script().split(" -- ")[1].startswith("sh -c 'a b' >")


def test_the_lab_s_own_program_is_brought_in() -> None:
    series = Series(AB, 1, workload=("gmemtest", "-n", "300"))
    assert series.program == "gmemtest"
    assert series.script().endswith(" -- $FILES/gmemtest -n 300 >$LAB/stdout 2>$LAB/stderr")
    assert Series(AB, 1, workload=("sleep", "1")).program is None


def test_memory_that_comes_at_the_start_comes_inside_the_recording() -> None:
    plugged = parse(["512M@1"], [], None)
    assert " -- lab-run sleep 1 >" in Series(AB, 1, workload=("sleep", "1"), plugging=plugged).script()
    at_a_mark = parse(["512M@1:at=mark"], [], None)
    assert " -- sleep 1 >" in Series(AB, 1, workload=("sleep", "1"), plugging=at_a_mark).script()
