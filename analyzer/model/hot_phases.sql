-- SPDX-License-Identifier: Apache-2.0
-- Where the time of a hot-add went, each nanosecond once: one row for each hot-add and phase.
--
-- Start: hot.request's entry.  End: the return of its last block's first onlining (the request's
-- own, if none came online).  A phase is the exclusive time of the traced occurrences in its
-- spans; nested time is in the inner phase alone.  not_in_rows is what these leave of the spans:
-- allocations summed in the kernel, which name no thread.  gap is the time in no span: added,
-- and waiting for somebody to bring it online; between two calls, where the request was not
-- seen.  All phases are the time from start to end, unless several threads worked at once: then
-- gap is what none worked in, and the phases add up to more than passed.
-- Needs: hot_intervals, hot_spans, hot_requests, traced.
CREATE TEMP TABLE hot_phases AS
WITH work AS (
    SELECT
        s.add,
        i.self_ns,
        CASE
            WHEN i.event LIKE 'accept.%' THEN 'accept'
            WHEN i.event LIKE 'zero.%' THEN if(i.in_memmap, 'memmap_zero', 'other_zero')
            WHEN i.event = 'hot.request' THEN 'request'
            WHEN i.event = 'hot.add' THEN 'arch'
            WHEN i.event = 'hot.section' THEN 'sections'
            WHEN i.event LIKE 'hot.%' THEN substr(i.event, 5)
            WHEN i.in_memmap THEN 'memmap'
            WHEN i.event = 'alloc' OR i.event LIKE 'alloc.%' THEN 'other_alloc'
            ELSE 'other'
        END AS phase
    FROM hot_spans AS s JOIN hot_intervals AS i ON i.outer_id = s.id
),
done AS (
    SELECT add, phase, sum(self_ns)::BIGINT AS self_ns, count(*) > count(self_ns) AS at_least
    FROM work GROUP BY add, phase
),
reach AS (
    SELECT
        add, begin_ns, end_ns, length_ns,
        max(end_ns) OVER (
            PARTITION BY add ORDER BY begin_ns, end_ns DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached_ns
    FROM hot_spans
),
spent AS (
    SELECT
        add,
        (max(end_ns) - min(begin_ns))::BIGINT AS took_ns,
        sum(length_ns)::BIGINT AS span_ns,
        sum(greatest(end_ns - greatest(begin_ns, coalesce(reached_ns, begin_ns)), 0))::BIGINT AS covered_ns
    FROM reach GROUP BY add
),
ends AS (
    SELECT
        s.add,
        'not_in_rows' AS phase,
        greatest(s.span_ns - coalesce((SELECT sum(self_ns) FROM done AS d WHERE d.add = s.add), 0), 0)::BIGINT AS self_ns
    FROM spent AS s
    UNION ALL
    SELECT add, 'gap', took_ns - covered_ns FROM spent
),
named AS (
    SELECT * FROM (VALUES
        (0, 'request', 'request: resource, block devices', 'hot.request'),
        (1, 'arch', 'arch_add_memory(): direct map', 'hot.add'),
        (2, 'sections', 'sections, less their struct pages', 'hot.section'),
        (3, 'memmap', 'allocation of struct pages', 'hot.memmap'),
        (4, 'memmap_zero', 'clearing of struct pages', 'zero.alloc'),
        (5, 'altmap', 'struct pages inside the block', 'hot.altmap'),
        (6, 'init', 'initialising struct pages', 'hot.init'),
        (7, 'zone', 'the zone''s span', 'hot.zone'),
        (8, 'online', 'onlining: pages to the allocator', 'hot.online'),
        (9, 'accept', 'acceptance', 'accept'),
        (10, 'block', 'block device: notifiers, state', 'hot.block'),
        (11, 'other_alloc', 'other allocation inside', 'alloc'),
        (12, 'other_zero', 'other clearing inside', 'zero.alloc'),
        (13, 'other', 'other traced work inside', NULL),
        (14, 'not_in_rows', 'not in rows (summed in the kernel)', NULL),
        (15, 'gap', 'gap: added, not yet online', NULL)
    ) AS names(place, phase, what, event)
),
known AS (
    SELECT place, phase, what, event IS NULL OR EXISTS (
        SELECT 1 FROM (SELECT event FROM traced UNION ALL SELECT event FROM hot_intervals) AS t
        WHERE t.event = n.event OR n.event = 'accept' AND t.event LIKE 'accept%'
    ) AS traced
    FROM named AS n
)
SELECT
    -- add | number | The hot-add.
    s.add,
    -- | number | The phase's place on a page.
    k.place,
    -- | text | The phase.
    k.phase,
    -- phase | text | What it is.
    k.what,
    -- self | ns, mark > where at_least | Exclusive time.
    -- Null: its event was not traced, or no occurrence of it has a time.
    -- Bound: at least, where some of its occurrences have no time.
    CASE WHEN coalesce(d.self_ns, e.self_ns, 0) > 0 THEN coalesce(d.self_ns, e.self_ns)
        WHEN k.traced AND NOT coalesce(d.at_least, false) THEN 0 END AS self_ns,
    -- share | share, mark > where at_least | Its share of the time from start to end.
    -- Null: self_ns is, or no time passed.
    CASE WHEN coalesce(d.self_ns, e.self_ns, 0) > 0 OR k.traced AND NOT coalesce(d.at_least, false)
        THEN coalesce(d.self_ns, e.self_ns, 0) / nullif(s.took_ns, 0) END AS share,
    -- | text | Whether some of its occurrences have no time, so that self_ns is a lower bound.
    coalesce(d.at_least, false) AND coalesce(d.self_ns, 0) > 0 AS at_least
FROM spent AS s
CROSS JOIN known AS k
LEFT JOIN done AS d ON d.add = s.add AND d.phase = k.phase
LEFT JOIN ends AS e ON e.add = s.add AND e.phase = k.phase;
