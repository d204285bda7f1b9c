-- SPDX-License-Identifier: Apache-2.0
-- First touches: faults that were resolved and made a page private, with their time by part.
--
-- A gmem.prepare or gmem.zero lies in each.  Faults again after a conversion, and prefaults, are
-- none.  Parts are exclusive and add up to the fault.
--
-- What lies in what: a thread does one thing at a time, so that an inner row lies in the first
-- outer one that ends on its thread at or after its own end; the outer must also begin no later,
-- else the one around it was lost and the inner is left out.  An inner row whose time is unknown
-- lies where it ended.
-- Needs: guest_rows, faults.
CREATE TEMP TABLE touches AS
WITH inner_rows AS (
    SELECT tid, ts_ns, dur_ns, event
    FROM guest_rows
    WHERE event IN ('gmem.zero', 'gmem.prepare', 'alloc') AND parent = 'gmem.get'
),
gets AS (
    SELECT tid, ts_ns, dur_ns FROM guest_rows WHERE event = 'gmem.get'
),
in_gets AS (
    SELECT
        o.tid,
        o.ts_ns,
        coalesce(sum(i.dur_ns) FILTER (i.event = 'alloc'), 0) AS allocation_ns,
        coalesce(sum(i.dur_ns) FILTER (i.event = 'gmem.zero'), 0) AS zeroing_ns,
        coalesce(sum(i.dur_ns) FILTER (i.event = 'gmem.prepare'), 0) AS preparation_ns,
        bool_or(i.event <> 'alloc') AS first,
        bool_and(i.dur_ns IS NOT NULL) AS timed
    FROM inner_rows AS i ASOF JOIN gets AS o ON i.tid = o.tid AND i.ts_ns <= o.ts_ns
    WHERE o.ts_ns - o.dur_ns <= i.ts_ns - coalesce(i.dur_ns, 0)
    GROUP BY o.tid, o.ts_ns
),
lookups AS (
    SELECT g.tid, g.ts_ns, g.dur_ns, p.allocation_ns, p.zeroing_ns, p.preparation_ns, p.first, p.timed
    FROM gets AS g LEFT JOIN in_gets AS p USING (tid, ts_ns)
    WHERE g.dur_ns IS NOT NULL
),
resolved AS (
    SELECT number, vm, tid, end_ns, begin_ns, dur_ns FROM faults WHERE NOT failed AND NOT retried
),
summed AS (
    SELECT
        f.number,
        any_value(f.vm) AS vm,
        any_value(f.dur_ns) AS dur_ns,
        sum(l.dur_ns)::BIGINT AS get_ns,
        coalesce(sum(l.allocation_ns), 0)::BIGINT AS allocation_ns,
        coalesce(sum(l.zeroing_ns), 0)::BIGINT AS zeroing_ns,
        coalesce(sum(l.preparation_ns), 0)::BIGINT AS preparation_ns,
        coalesce(bool_and(l.timed), true) AS timed
    FROM lookups AS l ASOF JOIN resolved AS f ON l.tid = f.tid AND l.ts_ns <= f.end_ns
    WHERE f.begin_ns <= l.ts_ns - l.dur_ns
    GROUP BY f.number
    HAVING bool_or(l.first)
)
SELECT
    -- fault | number | Its number in faults.
    number,
    -- vm | number | The VM.
    -- Null: not known.
    vm,
    -- took | ns | The whole fault.
    dur_ns,
    -- allocation | ns | alloc inside; 0 where that was not recorded.
    allocation_ns,
    -- zeroing | ns | gmem.zero.
    zeroing_ns,
    -- preparation | ns | gmem.prepare.
    preparation_ns,
    -- lookup | ns | gmem.get less these: page cache, locks, the allocator's callers, and parts
    -- that were not recorded.
    get_ns - allocation_ns - zeroing_ns - preparation_ns AS lookup_ns,
    -- rest | ns | The fault less gmem.get: walking and filling the page tables, and the exit.
    dur_ns - get_ns AS rest_ns,
    -- | text | Whether the time of each part is known.
    timed
FROM summed;
