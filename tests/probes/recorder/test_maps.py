# SPDX-License-Identifier: Apache-2.0
"""What becomes of intervals: those whose end was missed are what began, less what ended or is open."""

from __future__ import annotations

import numpy as np

from memtrace.probes.recorder.layouts import COUNTER
from memtrace.probes.recorder.losses import losses
from memtrace.probes.recorder.maps import event_counters
from memtrace.probes.recorder.missed import Missed
from memtrace.probes.topics.events import NAMES
from memtrace.traces.run import ProbeSite
from memtrace.traces.totals import EventCounters, Losses

ALLOC, FAULT = NAMES.index("alloc"), NAMES.index("root.fault")
BY_RETURN = (ProbeSite("root.fault", "kprobe:handle_mm_fault", "kprobe"),)


def told(at_the_end: bool) -> tuple[EventCounters, ...]:
    values = np.zeros(len(NAMES), COUNTER.dtype)
    values["begun"][[ALLOC, FAULT]] = 20, 11
    values["ended"][[ALLOC, FAULT]] = 13, 8
    still_open = np.zeros(len(NAMES), np.int64)
    still_open[[ALLOC, FAULT]] = 2, 3
    return event_counters(values, Missed(), still_open if at_the_end else None)


def test_what_neither_ended_nor_is_open_has_no_exit() -> None:
    counters = told(at_the_end=True)
    assert (counters[ALLOC].no_exit, counters[ALLOC].open) == (5, 2)
    assert (counters[FAULT].no_exit, counters[FAULT].open) == (0, 3)
    expected = Losses(entry_without_exit=10, recursion=0, no_room=0)
    assert losses(counters, BY_RETURN, Missed()) == expected


def test_a_return_that_was_missed_is_told_as_such() -> None:
    values = np.zeros(len(NAMES), COUNTER.dtype)
    values["begun"][[ALLOC, FAULT]] = 4, 9
    counters = event_counters(values, Missed(), np.zeros(len(NAMES), np.int64))
    found = losses(counters, BY_RETURN, Missed())
    assert (found.kretprobe_missed, found.entry_without_exit) == (9, 4)


def test_while_recording_it_is_not_known_which_will_have_none() -> None:
    counters = told(at_the_end=False)
    assert (counters[ALLOC].no_exit, counters[ALLOC].open) == (None, None)
    expected = Losses(kretprobe_missed=None, entry_without_exit=None, no_room=0)
    assert losses(counters, (), Missed()) == expected


def test_while_recording_it_is_known_where_all_have_ended() -> None:
    values = np.zeros(len(NAMES), COUNTER.dtype)
    values["begun"][ALLOC] = values["ended"][ALLOC] = 20
    counters = event_counters(values, Missed())
    assert (counters[ALLOC].no_exit, counters[ALLOC].open) == (0, 0)
    assert losses(counters, BY_RETURN, Missed()) == Losses(no_room=0)


def test_an_interval_that_ended_while_the_sums_were_read_is_not_less_than_none() -> None:
    values = np.zeros(len(NAMES), COUNTER.dtype)
    values["ended"][ALLOC] = 1
    counters = event_counters(values, Missed(), np.zeros(len(NAMES), np.int64))
    assert counters[ALLOC].no_exit == 0
