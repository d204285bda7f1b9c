# SPDX-License-Identifier: Apache-2.0
"""-e: names, prefixes, and names that do not exist."""

import pytest

from memtrace.errors import MemtraceError
from memtrace.probes.topics import events


def test_nothing_means_all_but_the_roots_and_the_guests() -> None:
    assert events.select(()) == events.DEFAULT
    assert set(events.NAMES) - set(events.DEFAULT) == {
        n for n in events.NAMES if n.startswith(("root.", "gmem."))
    }


def test_a_prefix_stands_for_all_below_it() -> None:
    assert events.select(("zero",)) == ("zero.alloc", "zero.user", "zero.page", "zero.free")


def test_order_and_repetition_do_not_matter() -> None:
    assert events.select(("zero.user", "hot.add", "zero.user")) == ("zero.user", "hot.add")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(MemtraceError, match=r"unknown event 'zer'.*alloc, alloc\.bulk,.* zero\.user"):
        events.select(("zer",))
