# SPDX-License-Identifier: Apache-2.0
"""Beginnings that the programs missed: by event, since the gate opened, and what is not known."""

from __future__ import annotations

from collections import Counter

import pytest

from memtrace.probes.programs import libbpf
from memtrace.probes.programs.module import Hook
from memtrace.probes.recorder import missed
from memtrace.probes.recorder.missed import Missed

ROOTS = frozenset({"root.fault", "root.slab"})


def test_what_was_missed_before_is_left_out() -> None:
    before = Missed(Counter({"alloc": 2}), Counter({ROOTS: 1}))
    now = Missed(Counter({"alloc": 5}), Counter({ROOTS: 1}))
    since = now.since(before)
    assert (since.total, since.of("alloc"), since.of("root.slab"), since.of("zero.user")) == (3, 3, 0, 0)


def test_of_a_program_that_serves_several_events_only_the_sum_is_known() -> None:
    found = Missed(Counter({"alloc": 5}), Counter({ROOTS: 1}))
    assert (found.total, found.of("alloc"), found.of("root.slab"), found.of("root.fault")) == (
        6,
        5,
        None,
        None,
    )


def test_what_the_kernel_does_not_tell_of_one_event_is_not_known_of_all() -> None:
    found = Missed(Counter({"alloc": 5}), untold=frozenset({"zero.alloc"}))
    assert (found.total, found.of("alloc"), found.of("zero.alloc")) == (None, 5, None)


def hook(event: str, program: str, loaded: int, fd: int = 0) -> Hook:
    return Hook(event, program, loaded, fd, program.endswith(("probe", "_call", "_return")))


def test_an_end_is_missed_only_where_no_beginning_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """fd and loaded stand for the number that the kernel gives of each."""
    monkeypatch.setattr(missed, "link_misses", lambda fd: fd)
    monkeypatch.setattr(missed, "_skipped", lambda program: program)
    hooks = (
        hook("alloc", "mt_fn_alloc_fentry", 1),
        hook("alloc", "mt_fn_alloc_fexit", 1_000),
        hook("alloc", "mt_fn_alloc_capture_fexit", 20),
        hook("zero.alloc", "mt_clear_call", 300, 4_000),
        hook("zero.alloc", "mt_clear_call", 300, 50_000),
        hook("zero.alloc", "mt_clear_return", 7, 7),
        hook("root.fault", "mt_root_kprobe", 600_000, 1),
        hook("root.slab", "mt_root_kprobe", 600_000, 2),
        hook("root.slab", "mt_root_kretprobe", 7, 7),
        hook("", "mt_sample", 7),
    )
    found = missed.missed(hooks, counts_kprobes=True)
    assert found.by_event == {"alloc": 21, "zero.alloc": 54_300, "root.fault": 1, "root.slab": 2}
    assert (found.shared, found.untold) == ({ROOTS: 600_000}, frozenset())
    silent = missed.missed(hooks, counts_kprobes=False)
    assert silent.untold == {"zero.alloc", *ROOTS}
    assert silent.by_event["alloc"] == 21


def test_a_descriptor_that_is_no_link_is_an_error() -> None:
    with open("/dev/null") as file, pytest.raises(OSError, match="Invalid argument"):
        libbpf.link_misses(file.fileno())
