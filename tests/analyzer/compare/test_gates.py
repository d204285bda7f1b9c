# SPDX-License-Identifier: Apache-2.0
"""Conditions: judged on the interval, with an exit status that `git bisect run` understands."""

import pytest

from memtrace.analyzer.compare import gates
from memtrace.analyzer.compare.changes import WITHHELD, Change
from memtrace.analyzer.compare.gates import MET, OPEN, REFUTED
from memtrace.analyzer.compare.metrics import Metric
from memtrace.errors import MemtraceError


def held(text: str, interval: tuple[float, float] | None, verdict: str = "~") -> str:
    change = Change(Metric("alloc", "total"), 1.0, 1.0, (5, 5), 0.0, interval, verdict=verdict)
    return gates._held(gates.parse(text), change)[0]


@pytest.mark.parametrize(
    ("text", "interval", "outcome"),
    [
        ("alloc.total>+5%", (0.06, 0.20), MET),
        ("alloc.total>+5%", (0.04, 0.20), OPEN),
        ("alloc.total>+5%", (-0.02, 0.05), REFUTED),
        ("alloc.total>0%", (0.001, 0.002), MET),
        ("alloc.total<-5%", (-0.20, -0.06), MET),
        ("alloc.total<-5%", (-0.05, 0.02), REFUTED),
        ("alloc.total > 5 %", (0.06, 0.20), MET),
        ("alloc.total>+5%", None, OPEN),
        ("alloc.total>+5%", (float("inf"), float("inf")), MET),
    ],
)
def test_a_condition_is_met_by_the_whole_interval_only(
    text: str, interval: tuple[float, float] | None, outcome: str
) -> None:
    assert held(text, interval) == outcome


def test_what_is_withheld_is_no_evidence() -> None:
    assert held("alloc.total>+5%", (0.5, 0.6), WITHHELD) == OPEN


@pytest.mark.parametrize(
    "text", ["", "alloc", "alloc.total", ">5%", "alloc.total>", "alloc.total>x%", "alloc.total>=5%", "a>5"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(MemtraceError) as caught:
        gates.parse(text)
    assert caught.value.exit_code == 2


def test_cells_and_stars_name_metrics() -> None:
    assert gates.parse("alloc.p99[order=9,node=1]>+5%").metric == "alloc.p99[order=9,node=1]"
    assert gates.parse("*.total>+5.5%") == gates.Gate("*.total>+5.5%", "*.total", True, 0.055)


def test_a_regression_outweighs_missing_evidence_and_that_outweighs_none() -> None:
    def outcomes(*found: str) -> list[gates.Outcome]:
        change = Change(Metric("alloc", "total"), 1.0, 1.0, (5, 5))
        return [gates.Outcome(gates.parse("a>1%"), "b", "a", change, one, "") for one in found]

    assert gates.exit_code(outcomes(REFUTED, OPEN, MET)) == 1
    assert gates.exit_code(outcomes(REFUTED, OPEN)) == 125
    assert gates.exit_code(outcomes(REFUTED)) == 0
