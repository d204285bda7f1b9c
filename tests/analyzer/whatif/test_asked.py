# SPDX-License-Identifier: Apache-2.0
"""Predictions are shown to those who ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from memtrace.analyzer.report import Request, make
from memtrace.analyzer.views import VIEWS, WHAT_IFS, Choice, view
from memtrace.errors import MemtraceError
from memtrace.tests.analyzer.accept.cases import CASES as ACCEPT
from memtrace.tests.analyzer.cases import CASES
from memtrace.tests.analyzer.gmem.host import Host
from memtrace.tests.analyzer.gmem.host import case as guest
from memtrace.tests.analyzer.recorded import Case
from memtrace.traces.reader import Run

RunOf = Callable[[Case], Run]


def made(name: str) -> Case:
    """A run that the view has predictions of."""
    if name == "gmem":
        host = Host()
        host.fault(0, 100)
        return guest(host)
    return ACCEPT["lazy"]() if name == "accept" else CASES["zeroing"]()


@pytest.mark.parametrize("name", WHAT_IFS)
def test_a_view_has_its_what_ifs_only_if_asked(name: str, run_of: RunOf) -> None:
    def tables(choice: Choice) -> set[str]:
        return {table.name for table in view(run_of(made(name)), name, choice).report.tables}

    plain, asked = tables(Choice()), tables(Choice(what_if=True))
    assert plain < asked
    assert asked - plain <= set(WHAT_IFS[name])


@pytest.mark.parametrize(("name", "table"), [("accept", "granule"), ("zero", "whatifs"), ("gmem", "whatif")])
def test_to_name_one_is_to_ask_for_it(name: str, table: str, run_of: RunOf) -> None:
    path = str(run_of(made(name)).path)
    plain = make(Request((path,), view=name, table=table, format="csv"))
    assert plain == make(Request((path,), view=name, table=table, format="csv", what_if=True))


@pytest.mark.parametrize("name", sorted(set(VIEWS) - set(WHAT_IFS)))
def test_a_view_that_has_none_says_where_they_are(name: str, run_of: RunOf) -> None:
    path = str(run_of(made("zero")).path)
    with pytest.raises(MemtraceError, match="--what-if goes with --view accept or zero or gmem") as refused:
        make(Request((path,), view=name, what_if=True))
    assert refused.value.exit_code == 2


def test_a_grouping_has_none(run_of: RunOf) -> None:
    path: Any = str(run_of(made("zero")).path)
    with pytest.raises(MemtraceError, match="leave out --by"):
        make(Request((path,), view="zero", by="tree", what_if=True))
