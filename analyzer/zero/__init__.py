# SPDX-License-Identifier: Apache-2.0
"""The zero view: who clears memory, how often, at what price, and what other ways would save.

kind
    What the memory was wanted for (kinds.py), from the roots around it and the gfp
    flags of its allocation.  "unknown" where the run has neither.
pages
    4 KiB pages allocated for that, exact; for hugetlb those added to the pool; for
    the bulk allocator (vmalloc), which no alloc tells of, those that it cleared.
by_allocator, by_caller, on_free
    4 KiB pages that the allocator cleared (zero.alloc), that the caller cleared
    (zero.user, zero.page), that were cleared as they were freed (zero.free).  Each
    clear counts: a page cleared twice is two.  ``derived``: no clear was seen; the
    number follows from the gfp flags of each allocation and init_on_alloc.
clears_per_page
    by_allocator and by_caller over pages; for hugetlb over the pages that were faulted
    if those are more, for the pool was filled before the run: then, and where the
    clears of one of the two were not counted, at least.
total_ns
    Time of the clears, from the start to the end of each; interrupts and
    preemption included.  Exact where sites are; else unknown: an estimate by
    sampling is by order and node only (table ``bandwidth``).
wall, share of a root
    Wall time of the outermost roots of that name, whole; clearing inside as a share
    of it, a lower bound ("part") where some of it has no known time.  Roots inside
    others are in the outer one's time and not added.
redundant
    Bytes cleared without a reader in between (redundant.py).

All sums are over the run, the recorder's own work left out.
"""
