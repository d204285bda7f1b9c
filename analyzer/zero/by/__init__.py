# SPDX-License-Identifier: Apache-2.0
"""Clearing by what is around it: nested frames, tasks, cgroups, stacks.

clear
    One occurrence of zero.*: what the allocator cleared for one allocation, one folio
    or page cleared by a caller, one page cleared as it was freed.  Where no clear is
    seen, those of the allocator follow from the gfp flags of each allocation and
    init_on_alloc (``derived``): as many, and their bytes, but not their time.
cleared
    Bytes of the clears, each clear counted.
total_ns
    Wall time of the clears, start to end, preemption included; of a frame, its own
    from entry to exit with everything inside.  Inclusive: never added over frames.
self_ns
    total_ns of a frame less that of the frames directly inside.  Over all frames it
    adds up to the union of the traced time (frames.py says how exactly).
ns_per_4kib
    Time of the clears with a known time for each 4096 bytes of them.
root
    The outermost ``root.*`` around most of the bytes; "none" if most have none.

Window: the whole run.  The recorder's own work is left out.  What a run does not hold
is a row of unknowns with its bytes, and a sentence says how to record it.
"""
