# SPDX-License-Identifier: Apache-2.0
"""Which events are watched for which, before anything is attached."""

import pytest

from memtrace.probes.recorder.watched import for_victims, victims_only, watched_events
from memtrace.probes.sites.ladder import Candidate, Ladder


def ladder(event: str, *kinds: str) -> Ladder:
    candidates = tuple(
        Candidate(event, f"{kind}:f", kind, "f", lambda module: None, "order: argument") for kind in kinds
    )
    return Ladder(event, candidates)


ALLOC = ladder("alloc", "fentry", "kprobe", "rawtp")
ALL = (ALLOC, *(ladder(f"accept.{name}", "fentry") for name in ("burst", "block", "call", "arch", "step")))


@pytest.mark.parametrize(
    ("asked", "watched"),
    [
        (("alloc",), ("alloc",)),
        (("zero.alloc",), ("zero.alloc",)),
        (("accept.block",), ("alloc", "accept.block")),
        (("accept.call",), ("alloc", "accept.call", "accept.arch")),
        (("accept.step",), ("alloc", "accept.arch", "accept.step")),
        (("hot.online",), ("hot.online",)),
    ],
)
def test_an_acceptance_needs_who_waits_and_a_call_what_it_accepts(
    asked: tuple[str, ...], watched: tuple[str, ...]
) -> None:
    assert watched_events(ALL, asked) == watched


def test_nothing_is_watched_for_an_event_that_has_no_site_here() -> None:
    assert watched_events((ALLOC, ladder("accept.block")), ("accept.block",)) == ("accept.block",)


def test_only_victims_are_recorded_where_allocations_were_not_asked_for() -> None:
    assert victims_only(("accept.call", "hot.online"))
    assert not victims_only(("accept.call", "alloc"))
    assert not victims_only(("accept.call", "zero.alloc"))


def test_a_site_that_sees_no_interval_finds_no_victim() -> None:
    kept = for_victims(ALLOC)
    assert [c.kind for c in kept.candidates] == ["fentry", "kprobe"]
    assert {c.decode for c in kept.candidates} == {"only those in which memory was accepted; order: argument"}
    assert for_victims(ALL[1]) == ALL[1]
