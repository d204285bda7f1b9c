-- SPDX-License-Identifier: Apache-2.0
-- Rows of hot_rows, each with what lies around it, its own time and the range that it was about.
--
-- One interval lies inside another of its thread that holds all of it.  self_ns is the file's;
-- where the file does not tell, the length less what was traced directly inside.  A request or a
-- block whose range was not seen has that of the hot.* occurrences inside it together: struct
-- pages elsewhere (hot.memmap) left out, and at least so much.
-- Needs: hot_rows, hot_nesting, run.
CREATE TEMP TABLE hot_intervals AS
WITH RECURSIVE up(id, above) AS (
    SELECT id, id FROM hot_rows
    UNION ALL
    SELECT up.id, n.parent FROM up JOIN hot_nesting AS n ON n.id = up.above WHERE n.parent IS NOT NULL
),
around AS (
    SELECT
        up.id,
        min(a.id) FILTER (a.hot) AS outer_id,
        min(a.id) FILTER (a.event = 'hot.request') AS request_id,
        min(a.id) FILTER (a.event = 'hot.block') AS block_id,
        coalesce(bool_or(a.event = 'hot.memmap'), false) AS in_memmap
    FROM up JOIN hot_rows AS a ON a.id = up.above
    GROUP BY up.id
),
ranges AS (
    SELECT
        up.above AS id,
        min(r.pfn) AS low,
        max(r.end_pfn) AS high,
        first(r.nid ORDER BY r.id) FILTER (r.nid IS NOT NULL) AS nid
    FROM up JOIN hot_rows AS r USING (id)
    WHERE up.id <> up.above AND r.hot AND r.event <> 'hot.memmap' AND r.size > 0 AND r.pfn IS NOT NULL
    GROUP BY up.above
),
inside AS (
    SELECT
        n.parent AS id,
        sum(CASE WHEN r.dur_ns IS NULL AND r.begin_ns = r.end_ns THEN coalesce(r.self_ns, 0)
            ELSE n.length_ns END)::BIGINT AS inner_ns
    FROM hot_nesting AS n JOIN hot_rows AS r USING (id)
    WHERE n.parent IS NOT NULL
    GROUP BY n.parent
),
joined AS (
    SELECT
        r.*,
        a.* EXCLUDE (id),
        n.parent,
        n.length_ns,
        coalesce(i.inner_ns, 0) AS inner_ns,
        r.event IN ('hot.request', 'hot.block') AND (r.pfn IS NULL OR r.size = 0) AS unseen,
        g.low,
        g.high,
        g.nid AS inner_nid
    FROM hot_rows AS r
    JOIN around AS a USING (id)
    JOIN hot_nesting AS n USING (id)
    LEFT JOIN inside AS i USING (id)
    LEFT JOIN ranges AS g USING (id)
)
SELECT
    -- | number | Its number among hot_rows.
    id,
    -- event | text | The event.
    event,
    -- | text | Whether it is an event of hotplug.
    hot,
    -- | number | What lies directly around it, by id.
    -- Null: nothing does.
    parent,
    -- | number | The outermost event of hotplug around it, or itself.
    -- Null: it lies in none.
    outer_id,
    -- | number | The hot.request that it lies in, or is.
    -- Null: it lies in none.
    request_id,
    -- | number | The hot.block that it lies in, or is.
    -- Null: it lies in none.
    block_id,
    -- | text | Whether it is an allocation of struct pages (hot.memmap), or lies in one.
    in_memmap,
    -- start | ns | Its start, CLOCK_BOOTTIME.
    begin_ns,
    -- end | ns | Its end.
    end_ns,
    -- took | ns | Its length.
    -- Null: only one of its two ends was seen, or it is a sum of several.
    dur_ns,
    -- | ns | end_ns less begin_ns, less what another holds where two cross.
    length_ns,
    -- self | ns | Its time without what was traced inside.
    -- Null: it has no length, and the file does not tell.
    CASE
        WHEN self_ns IS NOT NULL THEN self_ns
        WHEN dur_ns IS NOT NULL OR end_ns > begin_ns THEN greatest(length_ns - inner_ns, 0)
    END AS self_ns,
    -- thread | number | Its thread, or -1.
    thread,
    -- tid | number | Its thread.
    -- Null: it is not known.
    tid,
    -- comm | text | Name of the thread.
    -- Null: it is not known.
    comm,
    -- pfn | number | First page frame that it was about.
    -- Null: it is not known.
    CASE WHEN unseen THEN coalesce(low, pfn) ELSE pfn END AS pfn,
    -- | number | The page frame after the last.
    -- Null: pfn is not known.
    CASE WHEN unseen THEN coalesce(high, end_pfn) ELSE end_pfn END AS end_pfn,
    -- memory | bytes | Length of the range that it was about, done or not; 0 where it is not known.
    -- Bound: at least, where the range was not seen and is that of what lies inside.
    CASE WHEN unseen AND low IS NOT NULL THEN (high - low) * page_size ELSE size END AS size,
    -- done | bytes | What of it was done.
    -- Null: it was not counted.
    bytes,
    -- asked | bytes | What was asked for.
    -- Null: it was not seen.
    bytes_requested,
    -- node | number | Node of the memory.
    -- Null: it is not known.
    CASE WHEN unseen THEN coalesce(nid, inner_nid) ELSE nid END AS nid,
    -- asked | number | Node asked for.
    -- Null: none was, or it was not seen.
    nid_requested,
    -- | number | Its flags, as in the file.
    flags,
    -- failed | text | Whether it failed.
    failed,
    -- altmap | text | Whether the range holds its own struct pages.
    flags & 512 <> 0 AS altmap,
    -- errno | number | What a failed function returned.
    -- Null: it did not fail, or what it returned was not seen.
    error,
    -- stack | stack | Kernel stack, root first.
    -- Null: none was recorded.
    stack
FROM joined, run;
