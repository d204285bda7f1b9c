# SPDX-License-Identifier: Apache-2.0
"""Which events would be in a run if they happened, by the sites that it chose for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from memtrace.analyzer.model.plain import put

if TYPE_CHECKING:
    from memtrace.analyzer.model.staged import Model


def sited(model: Model) -> None:
    """``sited``: events that have a site in the run; without one, the lack of rows says nothing."""
    _events(model, "sited", asked=False)


def watched(model: Model) -> None:
    """``watched``: events that were asked for and have a site: where they have no rows, there were none."""
    _events(model, "watched")


def traced(model: Model) -> None:
    """``traced``: events whose occurrences are in the run with a time, if there were any."""
    _events(model, "traced", lambda time: time != "unknown")


def exact(model: Model) -> None:
    """``exact``: events that were recorded with their exact time."""
    _events(model, "exact", lambda time: time == "exact")


def _events(
    model: Model, name: str, timed: Callable[[str], bool] = lambda time: True, *, asked: bool = True
) -> None:
    """A table of the events with such a site; ``asked``: only those that were asked for."""
    header = model.run.header
    events = {site.event for site in header.manifest if site.site and timed(site.time)}
    events &= set(header.events) if asked else events
    put(model.connection, name, {"event": (sorted(events), "string")})
