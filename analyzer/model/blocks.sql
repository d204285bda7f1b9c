-- SPDX-License-Identifier: Apache-2.0
-- Memory blocks that came online, one row for each time that one did.
--
-- A block is hot.block from entry to return, nested events included; where that was not seen,
-- hot.online, and then its range is what came online.  The first onlining of a block counts as
-- its hot-add's; one that follows an offlining is ``again``.  A block in no hot-add was there
-- when recording began, or its range was not seen.
-- Needs: hot_intervals, hot_requests, hot_owners, traced.
CREATE TEMP TABLE blocks AS
WITH onlinings AS (
    SELECT * FROM hot_intervals
    WHERE NOT failed AND (event = 'hot.block' OR event = 'hot.online' AND block_id IS NULL)
),
inside AS (
    SELECT
        o.id,
        first(i.bytes ORDER BY i.id) FILTER (i.event = 'hot.online' AND i.bytes_requested IS NOT NULL) AS onlined,
        coalesce(sum(i.bytes) FILTER (i.event = 'hot.altmap'), 0)::BIGINT AS in_block,
        sum(i.dur_ns) FILTER (i.event = 'hot.init')::BIGINT AS init_ns,
        sum(i.dur_ns) FILTER (i.event = 'hot.zone')::BIGINT AS zone_ns,
        max(i.id) AS last_id
    FROM onlinings AS o JOIN hot_intervals AS i
        ON NOT i.failed AND (i.id = o.id OR i.block_id = o.id
            OR o.event = 'hot.online' AND i.thread = o.thread AND i.begin_ns >= o.begin_ns AND i.end_ns <= o.end_ns)
    GROUP BY o.id
),
own_struct_pages AS (
    SELECT
        o.id,
        count(s.id) > 0 AND NOT coalesce(bool_or(s.altmap), false) OR EXISTS (
            SELECT 1 FROM (SELECT event FROM traced UNION ALL SELECT event FROM hot_intervals) AS t
            WHERE t.event = 'hot.altmap'
        ) AS known
    FROM onlinings AS o LEFT JOIN hot_intervals AS s
        ON s.event = 'hot.section' AND NOT s.failed AND s.pfn < o.end_pfn AND o.pfn < s.end_pfn
    GROUP BY o.id
),
owned AS (
    SELECT
        o.*, i.* EXCLUDE (id), k.known, w.add, r.end_ns AS request_end_ns, r.requested,
        row_number() OVER (PARTITION BY w.add, o.pfn ORDER BY o.begin_ns, o.id) AS time,
        row_number() OVER (PARTITION BY w.add, o.pfn ORDER BY o.begin_ns DESC, o.id DESC) AS from_last
    FROM onlinings AS o
    JOIN inside AS i USING (id)
    JOIN own_struct_pages AS k USING (id)
    LEFT JOIN hot_owners AS w USING (id)
    LEFT JOIN hot_requests AS r USING (add)
)
SELECT
    -- add | number | The hot-add that it belongs to.
    -- Null: it belongs to none in this run.
    add,
    -- block | number | Its place among the blocks of its hot-add, by their first onlining, from 0.
    -- Null: it belongs to no hot-add, or came online again.
    CASE WHEN add IS NOT NULL AND time = 1
        THEN (row_number() OVER (PARTITION BY add, time ORDER BY begin_ns, id) - 1)::INTEGER END AS block,
    -- | number | Its row among hot_intervals.
    id,
    -- | text | Whether it had been online before in its hot-add.
    add IS NOT NULL AND time > 1 AS again,
    -- | text | Whether it is the last onlining of its block, and no offlining followed.
    add IS NOT NULL AND from_last = 1 AND NOT EXISTS (
        SELECT 1 FROM hot_intervals AS o JOIN hot_owners AS w USING (id)
        WHERE w.add = owned.add AND o.event = 'hot.offline' AND NOT o.failed
            AND o.begin_ns >= owned.end_ns AND o.pfn < owned.end_pfn AND owned.pfn < o.end_pfn
    ) AS lasting,
    -- | text | Whether it came online inside its hot-add's request.
    coalesce(requested AND request_id IS NOT NULL, false) AS in_request,
    -- | number | Its first page frame.
    -- Null: it is not known.
    pfn,
    -- | number | The page frame after its range.
    -- Null: pfn is not known.
    end_pfn,
    -- node | number | Its node.
    -- Null: it is not known.
    nid,
    -- memory | bytes | Bytes of the block; 0 where its range is not known.
    -- Bound: at least, where hot.block was not seen or had no range.
    size AS bytes,
    -- onlined | bytes | Pages that generic_online_page() gave to the allocator.
    -- Null: it was not counted.
    onlined AS onlined_bytes,
    -- memmap | bytes, if any | Struct pages inside the block itself, by hot.altmap.
    -- Null: hot.altmap was not traced, and its sections were not seen, or say that there are some.
    CASE WHEN known THEN in_block END AS in_block_bytes,
    -- | ns | Its start, CLOCK_BOOTTIME.
    begin_ns AS start_ns,
    -- | ns | Its end.
    end_ns,
    -- gap | ns | From the end of its hot-add's request to its start, 0 inside the request.
    -- Null: it belongs to no hot-add.
    CASE WHEN requested AND request_id IS NOT NULL THEN 0
        WHEN add IS NOT NULL THEN greatest(begin_ns - request_end_ns, 0) END AS gap_ns,
    -- online | ns | How long it took.
    -- Null: only one of its two ends was seen.
    dur_ns AS online_ns,
    -- init | ns | Inside it, initialising struct pages (hot.init).
    -- Null: none was seen with a time.
    init_ns,
    -- zone | ns | Inside it, moving the range into its zone (hot.zone), hot.init included.
    -- Null: none was seen with a time.
    zone_ns
FROM owned;
