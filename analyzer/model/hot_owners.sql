-- SPDX-License-Identifier: Apache-2.0
-- Which hot-add a later event of hotplug belongs to, by its range.
--
-- It is the one that added all of its range, unless a part of that was added again or removed in
-- between.  What lies in a request is that hot-add's.  A removal belongs to what was added last.
-- Onlining that failed belongs to a hot-add as well.  An event without a range belongs to none,
-- as does one of memory that was there when recording began.
-- Needs: hot_intervals, hot_requests.
CREATE TEMP TABLE hot_owners AS
WITH later AS (
    SELECT * FROM hot_intervals
    WHERE event IN ('hot.block', 'hot.online', 'hot.zone', 'hot.init', 'hot.altmap', 'hot.offline', 'hot.remove')
        AND (outer_id = id OR id = block_id OR event = 'hot.online')
        AND size > 0 AND pfn IS NOT NULL
),
found AS (
    SELECT l.id, r.add
    FROM later AS l JOIN hot_requests AS r
        ON r.begin_ns <= l.begin_ns AND r.pfn <= l.pfn AND l.end_pfn <= r.end_pfn
    WHERE NOT EXISTS (
        SELECT 1 FROM hot_requests AS again
        WHERE again.add > r.add AND again.begin_ns <= l.begin_ns
            AND again.pfn < l.end_pfn AND l.pfn < again.end_pfn
    )
    AND (l.event = 'hot.remove' OR NOT EXISTS (
        SELECT 1 FROM hot_intervals AS gone
        WHERE gone.event = 'hot.remove' AND NOT gone.failed
            AND gone.begin_ns >= r.begin_ns AND gone.begin_ns <= l.begin_ns
            AND gone.pfn < l.end_pfn AND l.pfn < gone.end_pfn
            AND gone.pfn >= r.pfn AND gone.end_pfn <= r.end_pfn
    ))
)
SELECT
    -- | number | Its row among hot_intervals.
    id,
    -- add | number | The hot-add that it belongs to.
    add
FROM found;
