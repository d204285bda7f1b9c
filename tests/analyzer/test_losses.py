# SPDX-License-Identifier: Apache-2.0
"""Losses: by cause, as a share of what is known to have happened, and unknown ones."""

from __future__ import annotations

import dataclasses

from memtrace.analyzer.in_file import InFile
from memtrace.analyzer.losses import ledger, losses, sentence
from memtrace.tests.analyzer.recorded import status
from memtrace.traces.lost import events, known_losses, recorded
from memtrace.traces.totals import EventCounters, Losses

SOME = status(
    losses=Losses(ring_full=10, kretprobe_missed=5, recursion=None, entry_without_exit=1, no_room=0),
    counters=(EventCounters("alloc", 100, 90, 0, 10, 0, 0),),
)


def test_shares_are_of_seen_and_lost() -> None:
    table = losses(SOME, InFile(90))
    assert known_losses(SOME) == 16
    assert events(SOME, 90) == 106, "100 seen (10 of them lost to the ring) and 6 not seen"
    by_cause = {row["cause"]: (row["count"], row["share"]) for row in table.rows}
    assert by_cause["ring_full"] == (10, 10 / 106)
    assert by_cause["recursion"] == (None, None)
    assert by_cause["not_written"] == (0, 0.0)


def test_what_was_inferred_is_no_event_and_what_was_imported_is_one() -> None:
    assert sentence(SOME, InFile(90, inferred=5000)).startswith("lost 16 of 106 (15.09%)")
    assert sentence(SOME, InFile(97, imported=7)).startswith("lost 16 of 113")


def test_a_recording_that_was_cut_short_has_what_its_file_has() -> None:
    """The programs counted on while the last rows were taken."""
    cut = dataclasses.replace(SOME.counters[0], seen=105, seen_before=100)
    assert events(dataclasses.replace(SOME, counters=(cut,)), 93) == 93 + 16


def test_record_gives_the_number_that_its_report_gives() -> None:
    assert recorded(SOME) == events(SOME, 90) == 106
    assert recorded(status()) == 0


def test_every_cause_of_the_run_file_is_told() -> None:
    told = {row["cause"] for row in losses(SOME, InFile(0)).rows}
    assert told == set(Losses.__dataclass_fields__)


def test_the_sentence() -> None:
    assert sentence(SOME, InFile(90)) == (
        "lost 16 of 106 (15.09%): ring full 10, kretprobe missed 5, entry without exit 1; "
        "not known: program skipped by recursion"
    )
    assert sentence(status(), InFile(7)) == "lost 0 of 7"
    assert sentence(status(), InFile(0)) == "lost 0 of 0"


def test_without_counters_the_file_is_what_was_seen() -> None:
    assert events(status(losses=Losses(ring_full=3, no_room=0)), 7) == 10


def test_rows_the_disk_did_not_take_were_seen() -> None:
    told = status(
        losses=Losses(not_written=4, no_room=0), counters=(EventCounters("alloc", 10, 10, 0, 0, 0, 0),)
    )
    assert events(told, 6) == 10
    assert sentence(told, InFile(6)) == "lost 4 of 10 (40.00%): row not written 4"


def test_what_became_of_each_beginning_adds_up_by_event() -> None:
    known = {"failed": 3, "no_room": 5, "no_exit": 7, "open": 11, "missed": 13}
    told = status(
        counters=(
            EventCounters("alloc", 100, 60, 23, 17, 0, 0, **known),
            EventCounters("root.fault", 50, 50, 0, 0, 0, 0, **(known | {"missed": None})),
            EventCounters("zero.user", 4, 4, 0, 0, 0, 0, **dict.fromkeys(known, 0)),
            EventCounters("hot.add", 0, 0, 0, 0, 0, 0, **dict.fromkeys(known, 0)),
        )
    )
    alloc, fault, user = ledger(told).rows
    assert alloc == {"event": "alloc", "reached": 139, "in_file": 83, "ring_full": 17, **known}
    assert (fault["reached"], fault["missed"]) == (None, None)
    assert user["reached"] == user["in_file"] == 4
    assert [row["event"] for row in ledger(told).page()[0]] == ["alloc", "root.fault"]


def test_a_page_draws_the_table_only_if_something_was_lost() -> None:
    assert len(losses(SOME, InFile(90)).page()[0]) == len(Losses.__dataclass_fields__)
    assert losses(status(), InFile(7)).page()[0] == ()
