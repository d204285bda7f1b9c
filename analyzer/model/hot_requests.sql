-- SPDX-License-Identifier: Apache-2.0
-- Hot-adds that came about, one row for each, numbered from 1 by their start.
--
-- A hot-add is what add_memory_resource() did (hot.request).  Where that was not seen, it is
-- the calls of arch_add_memory() (hot.add) in one thread whose ranges follow each other, until
-- a part of them comes online.  A request that failed is no hot-add but a refusal.
-- Needs: hot_intervals.
CREATE TEMP TABLE hot_requests AS
WITH lone AS (
    SELECT
        a.*,
        lag(a.pfn) OVER last AS last_pfn,
        lag(a.end_pfn) OVER last AS last_end_pfn,
        lag(a.end_ns) OVER last AS last_ns
    FROM hot_intervals AS a
    WHERE a.event = 'hot.add' AND NOT a.failed AND a.request_id IS NULL
    WINDOW last AS (PARTITION BY a.thread ORDER BY a.id)
),
parted AS (
    SELECT
        l.*,
        l.pfn IS DISTINCT FROM l.last_end_pfn OR EXISTS (
            SELECT 1 FROM hot_intervals AS o
            WHERE o.event = 'hot.online' AND o.begin_ns >= l.last_ns AND o.begin_ns < l.begin_ns
                AND o.pfn >= l.last_pfn AND o.pfn < l.last_end_pfn
        ) AS first
    FROM lone AS l
),
grouped AS (
    SELECT *, count_if(first) OVER (PARTITION BY thread ORDER BY id) AS number FROM parted
),
adds AS (
    SELECT
        request_id,
        min(pfn) AS low,
        max(end_pfn) AS high,
        first(nid ORDER BY id) FILTER (nid IS NOT NULL) AS nid,
        sum(coalesce(bytes, size))::BIGINT AS size
    FROM hot_intervals WHERE event = 'hot.add' AND NOT failed GROUP BY request_id
),
found AS (
    SELECT
        r.id, true AS requested, r.thread, r.tid, r.begin_ns, r.end_ns, r.comm, r.stack,
        least(a.low, r.pfn) AS low,
        greatest(a.high, r.end_pfn) AS high,
        coalesce(a.nid, r.nid) AS nid,
        coalesce(nullif(a.size, 0), r.size) AS size
    FROM hot_intervals AS r LEFT JOIN adds AS a ON a.request_id = r.id
    WHERE r.event = 'hot.request' AND NOT r.failed
    UNION ALL
    SELECT
        min(id), false, thread, first(tid), min(begin_ns), max(end_ns), first(comm ORDER BY id),
        first(stack ORDER BY id), min(pfn), max(end_pfn),
        first(nid ORDER BY id) FILTER (nid IS NOT NULL), sum(coalesce(bytes, size))::BIGINT
    FROM grouped GROUP BY thread, number
)
SELECT
    -- add | number | Its number, from 1, by its start.
    row_number() OVER (ORDER BY begin_ns, id)::INTEGER AS add,
    -- | number | Its row among hot_intervals; of a hot-add without request its first hot.add.
    id,
    -- | text | Whether its request was seen.
    requested,
    -- | number | The thread of the request, or -1.
    thread,
    -- tid | number | The thread of the request.
    -- Null: it is not known.
    tid,
    -- at | ns | Start of the request (without it, of its first hot.add), CLOCK_BOOTTIME.
    begin_ns,
    -- | ns | Return of the request (of its last hot.add).
    end_ns,
    -- pfn | number | First page frame of its range.
    -- Null: it is not known.
    low AS pfn,
    -- | number | The page frame after its range.
    -- Null: it is not known.
    high AS end_pfn,
    -- node | number | Node that arch_add_memory() was told, else the request's.
    -- Null: it is not known.
    nid,
    -- memory | bytes | Memory that was added; 0 where it is not known.
    size,
    -- comm | text | Name of the thread.
    -- Null: it is not known.
    comm,
    -- stack | stack | Kernel stack of the request.
    -- Null: none was recorded.
    stack
FROM found;
