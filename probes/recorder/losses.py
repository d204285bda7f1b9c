# SPDX-License-Identifier: Apache-2.0
"""The five ways in which the kernel side can lose an event, each counted where it happens."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from memtrace.probes.programs.libbpf import program_info
from memtrace.probes.programs.module import Module
from memtrace.traces.run import ProbeSite
from memtrace.traces.totals import Losses

_RECURSION_MISSES_OFFSET = 208
"""Offset of recursion_misses in struct bpf_prog_info, include/uapi/linux/bpf.h (5.12 on), bytes."""


def recursion_misses(module: Module) -> int | None:
    """Return how often the kernel skipped one of our programs because one was running on that CPU.

    None if the kernel does not tell.
    """
    total = 0
    for fd in module.program_fds:
        try:
            info = program_info(fd)
        except OSError:
            return None
        if len(info) < _RECURSION_MISSES_OFFSET + 8:
            return None
        total += int.from_bytes(info[_RECURSION_MISSES_OFFSET : _RECURSION_MISSES_OFFSET + 8], "little")
    return total


def losses(
    module: Module,
    counters: npt.NDArray[Any],
    manifest: tuple[ProbeSite, ...],
    open_frames: int,
    counts_skipped: bool,
) -> Losses:
    """Return what has been lost so far.

    ``counters`` is maps.counters(), and ``open_frames`` the number of intervals still open
    when recording ended.  A return probe that was missed leaves its entry behind, and is
    counted by that: the kernel's own count (nmissed) is not readable for probes that live
    with their recorder.  With kprobes or call sites ``recursion`` is None unless the kernel
    counts their programs that it skips (``counts_skipped``, System.counts_skipped_kprobes).
    """
    kinds = {site.kind for site in manifest if site.site}
    left_behind = int(counters["unmatched_entry"].sum())
    told = counts_skipped or not kinds & {"kprobe", "callsite"}
    recursion = recursion_misses(module) if told else None
    return Losses(
        ring_full=int(counters["ring_full"].sum()),
        kretprobe_missed=left_behind if "kprobe" in kinds or "callsite" in kinds else 0,
        recursion=recursion,
        no_room=int(counters["no_room"].sum()),
        entry_without_exit=open_frames + (0 if kinds & {"kprobe", "callsite"} else left_behind),
    )
