-- SPDX-License-Identifier: Apache-2.0
-- Removals of memory that was added, one row for each.
--
-- What was removed cannot be removed again before it is added again, and then it is another
-- hot-add's: the removals of one hot-add are of different ranges.
-- Needs: hot_intervals, hot_owners, hot_requests, run.
CREATE TEMP TABLE hot_removals AS
WITH removals AS (
    SELECT
        w.add, i.id, i.begin_ns, i.end_ns, i.pfn, i.end_pfn, (i.end_pfn - i.pfn) * page_size AS bytes,
        (r.end_pfn - r.pfn) * page_size AS added,
        row_number() OVER (PARTITION BY w.add, i.pfn, i.end_pfn ORDER BY i.begin_ns, i.id) AS time
    FROM hot_owners AS w JOIN hot_intervals AS i USING (id) JOIN hot_requests AS r USING (add), run
    WHERE i.event = 'hot.remove' AND NOT i.failed
)
SELECT
    -- add | number | The hot-add that it removed a part of.
    add,
    -- | number | Its row among hot_intervals.
    id,
    -- start | ns | Its start, CLOCK_BOOTTIME.
    begin_ns,
    -- end | ns | Its end.
    end_ns,
    -- pfn | number | Its first page frame.
    pfn,
    -- | number | The page frame after the last.
    end_pfn,
    -- removed | bytes | Bytes that it removed.
    bytes,
    -- | text | Whether nothing of the hot-add was left after it.
    sum(bytes) OVER (PARTITION BY add ORDER BY begin_ns, id) >= added AS whole
FROM removals WHERE time = 1;
