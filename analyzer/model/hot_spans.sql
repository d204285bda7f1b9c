-- SPDX-License-Identifier: Apache-2.0
-- The intervals that a hot-add's work was done in: they hold all of it, each nanosecond once a
-- thread.
--
-- Its request (without it, each of its hot.add), and outside of it whatever of its range came
-- online, or failed to, until its last block was online for the first time.  Onlinings again are
-- none of it.
-- Needs: hot_intervals, hot_requests, hot_owners, blocks.
CREATE TEMP TABLE hot_spans AS
WITH ends AS (
    SELECT r.add, greatest(max(r.end_ns), max(b.end_ns)) AS end_ns
    FROM hot_requests AS r LEFT JOIN blocks AS b ON b.add = r.add AND b.block IS NOT NULL
    GROUP BY r.add
),
requests AS (
    SELECT r.add, i.id
    FROM hot_requests AS r JOIN hot_intervals AS i
        ON CASE WHEN r.requested THEN i.id = r.id
            ELSE i.event = 'hot.add' AND NOT i.failed AND i.request_id IS NULL AND i.thread = r.thread
                AND i.begin_ns >= r.begin_ns AND i.end_ns <= r.end_ns END
),
onlinings AS (
    SELECT w.add, i.id
    FROM hot_owners AS w
    JOIN hot_intervals AS i USING (id)
    JOIN ends AS e USING (add)
    LEFT JOIN blocks AS b ON b.id = i.id
    WHERE i.outer_id = i.id AND i.event NOT IN ('hot.offline', 'hot.remove')
        AND i.end_ns <= e.end_ns AND NOT coalesce(b.again, false)
),
found AS (SELECT * FROM requests UNION SELECT * FROM onlinings)
SELECT
    -- add | number | The hot-add.
    f.add,
    -- | number | The interval, among hot_intervals: what lies in it is part of the hot-add.
    id,
    -- start | ns | Its start, CLOCK_BOOTTIME.
    i.begin_ns,
    -- end | ns | Its end.
    i.end_ns,
    -- | ns | Its length.
    i.length_ns
FROM found AS f JOIN hot_intervals AS i USING (id);
