# SPDX-License-Identifier: Apache-2.0
"""A short run of the fuzzer, the same each time; `make fuzz` is the long one.

Hypothesis draws the mutations, so that a failure comes down to the fewest that make it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memtrace.errors import MemtraceError
from memtrace.tests.fuzz.harness import Corpus, Figures, one

RUNS, SHOWN, TRACES = 300, 40, 100


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    yield Corpus(tmp_path_factory.mktemp("corpus"))


def read_or_refused(read: Callable[[random.Random], None], examples: int) -> None:
    """Nothing but MemtraceError comes out, and not each input is refused."""
    opened = []

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        try:
            read(rng)
        except MemtraceError:
            return
        opened.append(True)

    check()
    assert opened


def test_mutated_runs_are_opened_or_refused(corpus: Corpus) -> None:
    read_or_refused(corpus.open_run, RUNS)


def test_mutated_runs_are_shown_or_refused(corpus: Corpus) -> None:
    read_or_refused(corpus.show_run, SHOWN)


def test_mutated_traces_are_read_or_refused(corpus: Corpus) -> None:
    read_or_refused(corpus.read_trace, TRACES)


def test_what_raises_is_counted_with_its_seed() -> None:
    figures = Figures()

    def fails(_: object) -> None:
        raise KeyError("x")

    def refuses(_: object) -> None:
        raise MemtraceError("no")

    one(fails, "7", figures)
    one(fails, "8", figures)
    one(refuses, "9", figures)
    assert (figures.inputs, figures.refused, figures.opened) == (3, 1, 0)
    ((place, times),) = figures.places.items()
    assert times == 2 and figures.seeds[place] == "7" and place.startswith("KeyError at test_fuzz.py:")
