# SPDX-License-Identifier: Apache-2.0
"""All events, the numbers that they and their sites have in a record, and what a user's words select."""

from __future__ import annotations

from memtrace.errors import MemtraceError
from memtrace.probes.topics import accept, alloc, gmem, hotplug, root, zero
from memtrace.probes.topics.event import Event

TOPICS = (alloc, zero, accept, hotplug, root, gmem)
"""The topics; each has EVENTS, SOURCES (its BPF C) and ladders()."""
EVENTS: tuple[Event, ...] = tuple(event for topic in TOPICS for event in topic.EVENTS)
"""All events; an event's number is its index."""
NAMES: tuple[str, ...] = tuple(event.name for event in EVENTS)
SITE_MACROS: tuple[str, ...] = tuple(macro for event in EVENTS for macro in event.site_macros)
"""Macros of the sites' numbers; a site's number is its index."""
ROOTS: tuple[str, ...] = tuple(event.name for event in root.EVENTS)
"""Names of the events that say why memory was wanted."""
DEFAULT: tuple[str, ...] = tuple(event.name for event in EVENTS if not event.asked)
NEEDS: dict[str, tuple[str, ...]] = {event.name: event.needs for event in EVENTS if event.needs}
_GROUPS = {"hotplug": "hot"}
"""Words that stand for a prefix of event names."""


def numbers(watched: tuple[str, ...]) -> dict[str, str]:
    """Return the macros (-D) of the numbers of events and sites, and MT_WANT_* of ``watched`` events."""
    made = {event.macro: str(number) for number, event in enumerate(EVENTS)}
    made |= {event.wanted: "1" for event in EVENTS if event.name in watched}
    made |= {macro: str(number) for number, macro in enumerate(SITE_MACROS)}
    return made | {
        "MT_NEVENTS": str(len(EVENTS)),
        "MT_EV_ROOT_FIRST": made[root.EVENTS[0].macro],
        "MT_EV_ROOT_LAST": made[root.EVENTS[-1].macro],
        "MT_EV_GMEM_FIRST": made[gmem.EVENTS[0].macro],
        "MT_EV_GMEM_LAST": made[gmem.EVENTS[-1].macro],
    }


def select(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the event names that the words of ``-e`` select, in the order of NAMES; without words, DEFAULT.

    A word is a full name, or a prefix such as ``zero`` for all events below it (``hotplug``
    stands for ``hot``).  Raises MemtraceError for a word that matches nothing.
    """
    if not wanted:
        return DEFAULT
    chosen: list[str] = []
    for word in wanted:
        prefix = _GROUPS.get(word, word)
        found = [n for n in NAMES if n == word or n.startswith(prefix + ".")]
        if not found:
            raise MemtraceError(f"unknown event {word!r}: `memtrace probes` lists {', '.join(NAMES)}", 2)
        chosen += [n for n in found if n not in chosen]
    return tuple(n for n in NAMES if n in chosen)
