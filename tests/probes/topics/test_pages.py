# SPDX-License-Identifier: Apache-2.0
"""What the pages say of the events is what the events say of themselves."""

import pytest

from memtrace.probes.topics.event import Event
from memtrace.probes.topics.events import EVENTS
from memtrace.probes.topics.pages import pages
from memtrace.traces.importers.topics import TOPICS
from memtrace.traces.schema import COLUMN_NAMES


def test_pages_are_as_the_events_are_declared() -> None:
    """`python -m memtrace.probes.topics.pages` renews them."""
    for path, text in pages().items():
        assert path.read_text() == text, path.name


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_event_speaks_of_events_and_columns_that_there_are(event: Event) -> None:
    names = {one.name for one in EVENTS}
    assert {*event.inside, *event.needs} <= names
    assert set(event.fields) <= set(COLUMN_NAMES)
    assert event.sites and event.doc


def test_an_imported_event_is_one_of_a_probe_by_the_same_functions() -> None:
    known = {event.name: event for event in EVENTS}
    for topic in TOPICS:
        if topic.event:
            assert topic.event in known, topic.event
