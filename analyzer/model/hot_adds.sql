-- SPDX-License-Identifier: Apache-2.0
-- Hot-adds with what came of them, one row for each.
--
-- A hot-add begins with its request (add_memory_resource(); where that was not seen, with its
-- first arch_add_memory()) and ends when its last block is online for the first time, or with
-- its request if none is.  Its removal, and onlinings again, are told beside, and are none of
-- its time.
-- Needs: hot_requests, hot_spans, hot_intervals, blocks, hot_removals, hot_origins, run.
CREATE TEMP TABLE hot_adds AS
WITH ends AS (
    SELECT add, max(end_ns) AS end_ns FROM hot_spans GROUP BY add
),
online AS (
    SELECT
        add,
        count(block) AS blocks,
        count_if(again)::BIGINT AS again,
        coalesce(sum(bytes) FILTER (block IS NOT NULL), 0)::BIGINT AS range_online_bytes,
        CASE WHEN count(block) = count(onlined_bytes) FILTER (block IS NOT NULL)
            THEN coalesce(sum(onlined_bytes) FILTER (block IS NOT NULL), 0) END::BIGINT AS onlined_bytes,
        coalesce(sum(bytes) FILTER (lasting), 0)::BIGINT AS lasting_bytes,
        count_if(lasting)::BIGINT AS lasting,
        sum(in_block_bytes) FILTER (block IS NOT NULL)::BIGINT AS in_block_bytes
    FROM blocks WHERE add IS NOT NULL GROUP BY add
),
sections AS (
    -- 64 is sizeof(struct page).
    SELECT s.add, sum(i.size // page_size * 64)::BIGINT AS in_block_bytes
    FROM hot_spans AS s JOIN hot_intervals AS i ON i.outer_id = s.id, run
    WHERE i.event = 'hot.section' AND i.altmap AND NOT i.failed
    GROUP BY s.add
),
accepts AS (
    SELECT
        s.add,
        count(*) AS accepts,
        count(i.bytes) AS known,
        CASE WHEN count(*) = count(coalesce(i.bytes, i.bytes_requested))
            THEN sum(coalesce(i.bytes, i.bytes_requested)) END::BIGINT AS bytes
    FROM hot_spans AS s JOIN hot_intervals AS i ON i.outer_id = s.id
    WHERE i.event = 'accept.call'
    GROUP BY s.add
),
removed AS (
    SELECT add, sum(bytes)::BIGINT AS bytes, min(end_ns) FILTER (whole) AS whole_ns
    FROM hot_removals GROUP BY add
)
SELECT
    -- add | number | Its number, from 1, by its start.
    r.add,
    -- | ns | Its start, CLOCK_BOOTTIME.
    r.begin_ns,
    -- | ns | Its end.
    e.end_ns,
    -- origin | text | The driver that asked for the memory, by the request's stack.
    w.origin,
    -- node | number | Its node.
    -- Null: it is not known.
    r.nid,
    -- pfn | number | First page frame of its range.
    -- Null: it is not known.
    r.pfn,
    -- | number | The page frame after its range.
    -- Null: it is not known.
    r.end_pfn,
    -- memory | bytes | Memory that was added.
    r.size AS bytes,
    -- blocks | number | Its blocks that came online.
    coalesce(o.blocks, 0) AS blocks,
    -- | bytes | Length of these blocks.
    coalesce(o.range_online_bytes, 0) AS range_online_bytes,
    -- onlined | bytes | Pages of these that the allocator got.
    -- Null: of some block they were not counted.
    CASE WHEN o.add IS NULL THEN 0 ELSE o.onlined_bytes END AS onlined_bytes,
    -- | ns | Its request alone, inclusive.
    -- Null: the request was not seen.
    CASE WHEN r.requested THEN r.end_ns - r.begin_ns END AS request_ns,
    -- took | ns, block 1 | From its start to its end.
    e.end_ns - r.begin_ns AS total_ns,
    -- accepts | number, if any, block 1 | accept.call rows inside.
    coalesce(a.accepts, 0) AS accepts,
    -- | bytes | Memory of those.
    -- Null: of some it is not known.
    CASE WHEN a.add IS NULL THEN 0 ELSE a.bytes END AS accept_bytes,
    -- | text | ``accepted``, or ``asked for`` where of some that is all that is known.
    -- Null: there are none.
    CASE WHEN a.add IS NOT NULL THEN if(a.known = a.accepts, 'accepted', 'asked for') END AS accept_bytes_are,
    -- again | number, if any, block 1 | Onlinings of blocks that had been online before.
    coalesce(o.again, 0) AS again,
    -- | bytes | Struct pages inside its own blocks: by hot.altmap, else by its sections' altmap.
    coalesce(nullif(o.in_block_bytes, 0), s.in_block_bytes, 0) AS in_block_bytes,
    -- result | text, block 1 | What it is at the end of the run.
    CASE
        WHEN d.whole_ns IS NOT NULL THEN 'removed'
        WHEN coalesce(d.bytes, 0) > 0 THEN 'partly removed'
        WHEN coalesce(o.lasting, 0) = 0 THEN 'offline'
        -- A block of unknown length that holds its struct pages is only as long as what came online.
        WHEN o.lasting_bytes >= r.size - coalesce(nullif(o.in_block_bytes, 0), s.in_block_bytes, 0) THEN 'online'
        ELSE 'partly'
    END AS result,
    -- removed | bytes, if any, block 1 | What of its range was removed, until it was added again.
    coalesce(d.bytes, 0) AS removed_bytes,
    -- | text | Name of the request's thread.
    -- Null: it is not known.
    r.comm,
    -- | number | The request's thread.
    -- Null: it is not known.
    r.tid
FROM hot_requests AS r
JOIN ends AS e USING (add)
JOIN hot_origins AS w USING (add)
LEFT JOIN online AS o USING (add)
LEFT JOIN sections AS s USING (add)
LEFT JOIN accepts AS a USING (add)
LEFT JOIN removed AS d USING (add)
ORDER BY r.add;
