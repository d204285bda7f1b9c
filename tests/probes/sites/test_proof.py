# SPDX-License-Identifier: Apache-2.0
"""What the known work of a start says of a site, and why it says nothing."""

import pytest

from memtrace.probes.sites.proof import Fired, judge
from memtrace.probes.sites.system import System
from memtrace.probes.topics.events import NAMES
from memtrace.traces.run import LEFT_TO_ALLOCATOR, ProbeSite


def fired(huge: int = 1, huge_cleared: bool = False, **seen: int) -> Fired:
    """Occurrences by event, with _ in place of the dot."""
    counts = dict.fromkeys(NAMES, 0) | {name.replace("_", ".", 1): count for name, count in seen.items()}
    return Fired(counts, huge, huge_cleared)


def site(event: str, kind: str = "fentry") -> ProbeSite:
    return ProbeSite(event, f"{kind}:f", kind, "f")


@pytest.mark.parametrize(
    ("work", "init_on_alloc", "proven", "why"),
    [
        (fired(zero_user=1), True, True, ""),
        (fired(zero_user=1), False, True, ""),
        # Nobody was seen to clear it: the site is silent.
        (fired(zero_alloc=200), False, False, ""),
        (fired(zero_alloc=200), True, False, ""),
        (fired(zero_alloc=200, huge_cleared=True), True, None, LEFT_TO_ALLOCATOR),
        # zero.alloc was not asked for, or is inferred: it can't be told.
        (fired(), True, None, "was not watched"),
        (fired(), False, False, ""),
        (fired(huge=0), False, None, "no huge page"),
    ],
)
def test_a_silent_zero_user_is_failed_only_if_nothing_else_can_have_cleared_the_huge_page(
    work: Fired, init_on_alloc: bool, proven: bool | None, why: str
) -> None:
    found = judge(site("zero.user"), work, System(init_on_alloc, False, {}))
    assert (found.proven, why in found.unproven, bool(found.unproven)) == (proven, True, bool(why))


def test_with_init_on_free_it_is_freeing_that_clears() -> None:
    system = System(True, True, {})
    work = fired(zero_free=300)
    alloc = judge(site("zero.alloc"), work, system)
    assert (alloc.proven, "init_on_free" in alloc.unproven) == (None, True)
    assert judge(site("zero.free"), work, system).proven is True
    assert judge(site("zero.free"), fired(), system).proven is False
    assert judge(site("zero.user"), work, system).proven is None


def test_what_no_work_reaches_says_so() -> None:
    system = System(False, False, {})
    for event, kind in (("accept.call", "fentry"), ("zero.user", "sampling")):
        found = judge(site(event, kind), fired(), system)
        assert (found.proven, bool(found.unproven)) == (None, True)
