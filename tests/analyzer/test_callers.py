# SPDX-License-Identifier: Apache-2.0
"""Who asked for the memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from memtrace.analyzer.callers import caller_of
from memtrace.analyzer.cells import cells
from memtrace.analyzer.keys import parse_keys
from memtrace.analyzer.partials import Partials

FAULT = "asm_exc_page_fault;handle_mm_fault"


@pytest.mark.parametrize(
    ("stack", "caller"),
    [
        (f"{FAULT};do_anonymous_page;vma_alloc_folio_noprof;__alloc_pages_noprof", "do_anonymous_page"),
        (f"{FAULT};do_anonymous_page;alloc_anon_folio;folio_alloc_mpol_noprof", "do_anonymous_page"),
        (f"{FAULT};__pte_alloc;pte_alloc_one;alloc_pages_mpol;get_page_from_freelist", "pte_alloc_one"),
        (
            "ksys_read;page_cache_ra_unbounded;filemap_alloc_folio_noprof;__folio_alloc",
            "page_cache_ra_unbounded",
        ),
        ("allocate_slab;alloc_slab_page;__alloc_pages", "alloc_slab_page"),
        ("do_huge_pmd_anonymous_page;folio_zero_user;clear_huge_page", "do_huge_pmd_anonymous_page"),
        ("wp_page_copy.isra.0;__alloc_pages", "wp_page_copy"),
        ("wp_page_copy+0x1f;__alloc_pages+0x20", "wp_page_copy"),
        (f"{FAULT};do_wp_page;__alloc_pages;get_page_from_freelist;0xffffffffc0401000;junk", "do_wp_page"),
        (f"{FAULT};do_wp_page;__alloc_pages;get_page_from_freelist;accept_memory", "do_wp_page"),
        ("do_exit;__alloc_pages;shrink_slab;new_slab;__alloc_pages;get_page_from_freelist", "new_slab"),
        ("online_pages;arch_add_memory", "arch_add_memory"),
        ("__get_free_pages", "__get_free_pages"),
        ("", ""),
    ],
)
def test_the_nearest_frame_outside_the_allocator(stack: str, caller: str) -> None:
    assert caller_of(stack) == caller


def test_grouped_by_caller_stacks_of_one_caller_are_one(partials_of: Callable[..., Partials]) -> None:
    found = cells(partials_of("stacks", parse_keys("caller")), ["event", "caller"])
    assert {row["caller"]: (row["count"], row["total_ns"]) for row in found} == {
        "do_anonymous_page": (2, 1200),
        "pte_alloc_one": (1, 300),
        None: (51, 12_900),
    }


def test_a_run_without_stacks_has_one_unknown_caller(partials_of: Callable[..., Partials]) -> None:
    found = cells(partials_of("streamed", parse_keys("caller")), ["event", "caller"])
    assert {row["caller"] for row in found} == {None}
