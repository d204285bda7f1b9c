# SPDX-License-Identifier: Apache-2.0
"""The workloads on this machine: so many faults as pages, and a sentence where it can't be."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
from click.testing import CliRunner

from memtrace import cli
from memtrace.errors import MemtraceError
from memtrace.probes.workloads import KINDS, Size, run

MIB = 1 << 20


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@pytest.mark.parametrize("name", ["anon", "shmem", "memfd"])
def test_each_page_is_one_fault(name: str) -> None:
    run(name, Size(2 * MIB))  # its modules are there now
    before = faults()
    done = run(name, Size(8 * MIB))
    assert (done.pages, done.page_bytes) == (2048, 4096)
    assert (done.copied_pages, done.copied_by) == (0, None)
    assert 2048 <= faults() - before < 2048 + 200
    assert done.begin_ns < done.end_ns


def test_a_copy_is_made_by_the_child() -> None:
    done = run("fork", Size(4 * MIB))
    assert (done.pages, done.copied_pages) == (1024, 1024)
    assert done.copied_by not in (None, done.tid)


def test_a_file_is_written_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run("file", Size(4 * MIB)).pages == 1024
    assert list(tmp_path.iterdir()) == []


def test_huge_pages_come_whole_or_are_refused() -> None:
    try:
        assert run("thp", Size(5 * MIB)).pages == 2
    except MemtraceError as error:
        assert "huge pages" in str(error)


@pytest.mark.parametrize("name", ["hugetlb", "hugetlb-1g"])
def test_an_empty_pool_is_a_sentence(name: str) -> None:
    with pytest.raises(MemtraceError, match=r"hugetlb pages of \d+ MiB"):
        run(name, Size(1 << 50))


def test_a_node_that_is_not_there_is_a_sentence() -> None:
    for name in ("anon", "shmem"):
        with pytest.raises(MemtraceError, match="can't be bound to node 1000"):
            run(name, Size(2 * MIB, 1000))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(MemtraceError, match="no workload 'nothing'; take one of anon, thp"):
        run("nothing", Size(2 * MIB))


def test_the_verb_lists_and_says_what_was_done() -> None:
    listed = CliRunner().invoke(cli.memtrace, ["workload"])
    assert [line.split()[0] for line in listed.output.splitlines()] == list(KINDS)
    said = json.loads(CliRunner().invoke(cli.memtrace, ["workload", "anon", "--mib", "4"]).output)
    (row,) = said["tables"]["workload"]
    assert (row["workload"], row["pages"], row["nid"]) == ("anon", 1024, None)
