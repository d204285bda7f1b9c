-- SPDX-License-Identifier: Apache-2.0
-- Occurrences of hot.*, and of whatever else was traced inside one of them in its thread.
--
-- Start: ts_ns less dur_ns.  End: ts_ns.  An occurrence of which the end alone is known (or a
-- sum of several, without a length) lies where it ends.  A request of which the beginning alone
-- was seen reaches to the end of what its thread did in its range.  Sizes are of the range that
-- it was about, done or not.  Rows are numbered by their start, the outer one first.
-- Needs: run.
CREATE TEMP TABLE hot_rows AS
WITH timed AS (
    SELECT
        events.*,
        ts_ns - coalesce(dur_ns, 0) AS begin_ns,
        event::VARCHAR LIKE 'hot.%' AS hot,
        coalesce(tid, -1) AS thread,
        coalesce(bytes_requested, bytes, 0) AS size,
        pfn + coalesce(bytes_requested, bytes, 0) // page_size AS end_pfn
    FROM events, run
),
hots AS MATERIALIZED (SELECT * FROM timed WHERE hot),
begun AS (
    SELECT r.thread, r.ts_ns, max(i.ts_ns) AS until_ns
    FROM hots AS r JOIN hots AS i
        ON i.thread = r.thread AND i.begin_ns >= r.ts_ns AND i.pfn >= r.pfn AND i.pfn < r.end_pfn
    WHERE r.event = 'hot.request' AND r.dur_ns IS NULL
        AND i.event IN ('hot.add', 'hot.block', 'hot.online')
    GROUP BY ALL
),
ended AS (
    SELECT
        h.*,
        CASE WHEN h.event = 'hot.request' AND h.dur_ns IS NULL
            THEN greatest(h.ts_ns, b.until_ns) ELSE h.ts_ns END AS end_ns
    FROM hots AS h LEFT JOIN begun AS b ON b.thread = h.thread AND b.ts_ns = h.ts_ns
),
marked AS (
    SELECT
        thread,
        begin_ns,
        end_ns,
        coalesce(begin_ns > max(end_ns) OVER (
            PARTITION BY thread ORDER BY begin_ns, end_ns DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), false) AS apart
    FROM ended
),
numbered AS (
    SELECT *, count_if(apart) OVER (PARTITION BY thread ORDER BY begin_ns, end_ns DESC) AS number
    FROM marked
),
stretches AS (
    SELECT thread, min(begin_ns) AS low, max(end_ns) AS high FROM numbered GROUP BY thread, number
),
chosen AS (
    SELECT * FROM ended
    UNION ALL
    SELECT t.*, t.ts_ns
    FROM timed AS t JOIN stretches AS s ON t.thread = s.thread AND t.begin_ns >= s.low AND t.ts_ns <= s.high
    WHERE NOT t.hot AND t.tid IS NOT NULL
),
ranked AS (
    -- Which of two with the same start and end is the outer one: the one that calls the other.
    SELECT *, coalesce(list_position([
        'hot.request', 'hot.add', 'hot.section', 'hot.memmap', 'hot.remove', 'hot.block', 'hot.altmap',
        'hot.online', 'hot.offline', 'hot.zone', 'hot.init'
    ], event::VARCHAR), 99) AS rank
    FROM chosen
)
SELECT
    -- | number | Place among these rows, by start, the outer one first.
    (row_number() OVER (ORDER BY begin_ns, end_ns DESC, rank, dur_ns DESC, self_ns) - 1)::BIGINT AS id,
    -- event | text | The event.
    event::VARCHAR AS event,
    -- | text | Whether it is an event of hotplug.
    hot,
    -- start | ns | Its start, CLOCK_BOOTTIME.
    begin_ns,
    -- end | ns | Its end.
    end_ns,
    -- took | ns | Its length.
    -- Null: only one of its two ends was seen, or it is a sum of several.
    dur_ns,
    -- self | ns | Its length less what was traced inside, as the file has it.
    -- Null: the file does not tell.
    self_ns,
    -- | number | Its thread, or -1.
    thread,
    -- tid | number | Its thread.
    -- Null: it is not known.
    tid,
    -- comm | text | Name of the thread.
    -- Null: it is not known.
    comm::VARCHAR AS comm,
    -- pfn | number | First page frame that it was about.
    -- Null: it is not known.
    pfn,
    -- | number | The page frame after the last.
    -- Null: pfn is not known.
    end_pfn,
    -- memory | bytes | Length of the range that it was about, done or not; 0 where it is not known.
    size,
    -- done | bytes | What of it was done.
    -- Null: it was not counted.
    bytes,
    -- asked | bytes | What was asked for.
    -- Null: it was not seen.
    bytes_requested,
    -- node | number | Node of the memory.
    -- Null: it is not known.
    nid,
    -- asked | number | Node asked for.
    -- Null: none was, or it was not seen.
    nid_requested,
    -- | number | Its flags, as in the file.
    flags,
    -- failed | text | Whether it failed.
    flags & 256 <> 0 AS failed,
    -- errno | number | What a failed function returned.
    -- Null: it did not fail, or what it returned was not seen.
    error,
    -- stack | stack | Kernel stack, root first.
    -- Null: none was recorded.
    stack::VARCHAR AS stack
FROM ranked;
