-- SPDX-License-Identifier: Apache-2.0
-- Rows of acceptance that stand for one occurrence each, and the rows that waited for one.
--
-- Levels nest: accept.burst (what one allocation accepts) holds accept.block (one block off the
-- zone's list), that holds accept.call (accept_memory()), that accept.arch (the platform's own
-- accept).  Failed attempts and sums made in the kernel are not here.  What may have waited is a
-- row flagged VICTIM that is no acceptance (alloc, hot.online), whether it came to memory or not;
-- in runs older than that flag an alloc that is as long as the shortest acceptance and holds
-- something.
--
-- Start: ts_ns less dur_ns.  End: ts_ns.  A block or a call of which one stamp alone was seen
-- reaches as far as what it ran: __accept_page() calls accept_memory() once, and that the
-- platform, so the next level's row that directly follows the stamp in the same thread (that
-- directly precedes it, where the stamps of that thread fit returns better than entries) is its
-- own.  Its length stays unknown.
-- Needs: accept_levels.
CREATE TEMP TABLE accept_rows AS
WITH chosen AS (
    SELECT
        l.level,
        l.inner_level,
        e.* REPLACE (CASE WHEN e.dur_ns >= 0 THEN e.dur_ns END AS dur_ns),
        e.ts_ns - greatest(coalesce(e.dur_ns, 0), 0) AS begin_ns,
        -- The idle task of each CPU is thread 0.
        CASE WHEN e.tid > 0 THEN e.tid ELSE -2 - coalesce(e.cpu, -1) END AS thread
    FROM events AS e JOIN accept_levels AS l ON e.event::VARCHAR = l.event
    WHERE e.flags & (32 | 256) = 0
),
-- Threads in which one stamp alone was seen of something: in most runs there is none.
stamped AS (
    SELECT DISTINCT thread FROM chosen WHERE dur_ns IS NULL AND level IN (2, 3)
),
calls_paired AS (
    SELECT
        * EXCLUDE (ts_ns),
        ts_ns AS end_ns,
        level = 3 AND dur_ns IS NULL AND lead(level) OVER calls = 4 AS follows,
        level = 3 AND dur_ns IS NULL AND lag(level) OVER calls = 4 AS precedes,
        lead(ts_ns) OVER calls AS next_end,
        lag(begin_ns) OVER calls AS last_begin
    FROM chosen WHERE thread IN (FROM stamped)
    WINDOW calls AS (PARTITION BY thread, level >= 3 ORDER BY begin_ns, ts_ns DESC, level)
),
calls_counted AS (
    SELECT *, count_if(follows) OVER threads >= count_if(precedes) OVER threads AS entries
    FROM calls_paired WINDOW threads AS (PARTITION BY thread)
),
calls_reach AS (
    SELECT
        * EXCLUDE (follows, precedes, next_end, last_begin, entries)
        REPLACE (
            CASE WHEN precedes AND NOT entries THEN last_begin ELSE begin_ns END AS begin_ns,
            CASE WHEN follows AND entries THEN next_end ELSE end_ns END AS end_ns
        )
    FROM calls_counted
),
blocks_paired AS (
    SELECT
        *,
        level = 2 AND dur_ns IS NULL AND lead(level) OVER blocks = inner_level AS follows,
        level = 2 AND dur_ns IS NULL AND lag(level) OVER blocks = inner_level AS precedes,
        lead(end_ns) OVER blocks AS next_end,
        lag(begin_ns) OVER blocks AS last_begin
    FROM calls_reach
    WINDOW blocks AS (
        PARTITION BY thread, level IN (2, (SELECT inner_level FROM accept_levels WHERE level = 2))
        ORDER BY begin_ns, end_ns DESC, level
    )
),
blocks_counted AS (
    SELECT *, count_if(follows) OVER threads >= count_if(precedes) OVER threads AS entries
    FROM blocks_paired WINDOW threads AS (PARTITION BY thread)
),
reach AS (
    SELECT
        * EXCLUDE (inner_level, follows, precedes, next_end, last_begin, entries)
        REPLACE (
            CASE WHEN precedes AND NOT entries THEN last_begin ELSE begin_ns END AS begin_ns,
            CASE WHEN follows AND entries THEN next_end ELSE end_ns END AS end_ns
        )
    FROM blocks_counted
    UNION ALL BY NAME
    SELECT * EXCLUDE (inner_level, ts_ns), ts_ns AS end_ns FROM chosen WHERE thread NOT IN (FROM stamped)
),
older AS (
    SELECT min(dur_ns) AS shortest FROM chosen
    WHERE NOT EXISTS (
        FROM events WHERE flags & 8 <> 0 AND flags & 32 = 0 AND event::VARCHAR NOT LIKE 'accept.%')
),
waiting AS (
    SELECT
        0 AS level,
        * EXCLUDE (ts_ns),
        ts_ns - dur_ns AS begin_ns,
        ts_ns AS end_ns,
        CASE WHEN tid > 0 THEN tid ELSE -2 - coalesce(cpu, -1) END AS thread
    FROM events, older
    WHERE flags & 32 = 0 AND dur_ns >= 0
        AND CASE WHEN shortest IS NULL THEN flags & 8 <> 0 AND event::VARCHAR NOT LIKE 'accept.%'
            ELSE event::VARCHAR = 'alloc' AND flags & 256 = 0 AND dur_ns >= shortest
                AND (self_ns IS NULL OR self_ns < total_ns) END
),
every AS (
    SELECT * FROM reach UNION ALL BY NAME SELECT * EXCLUDE (shortest) FROM waiting
),
requested AS (
    SELECT count(bytes_requested) > 0 AS told FROM chosen WHERE level = 3
)
SELECT
    -- | number | A number of its own, from 0.
    row_number() OVER () - 1 AS id,
    -- | number | 1 burst, 2 block, 3 call, 4 the platform's accept; 0 what waited.
    level,
    -- start | ns | Its start, CLOCK_BOOTTIME.
    -- Bound: where one stamp alone was seen, the start of what it ran.
    begin_ns,
    -- end | ns | Its end.
    -- Bound: where one stamp alone was seen, the end of what it ran.
    end_ns,
    -- took | ns | Its length.
    -- Null: one stamp alone was seen.
    dur_ns,
    -- | number | Thread; of the idle task of CPU n, or where none is known, -2 less n.
    thread,
    -- | number | Thread as recorded.
    -- Null: not known.
    tid,
    -- pid | number | Process.
    -- Null: not known.
    pid,
    -- cpu | number | CPU at the end.
    -- Null: not known.
    cpu,
    -- comm | text | Name of the thread.
    -- Null: not known.
    comm::VARCHAR AS comm,
    -- cgroup | text | Its cgroup.
    -- Null: not recorded.
    cgroup::VARCHAR AS cgroup,
    -- order | number | Order of the allocation that it was for.
    -- Null: not known.
    "order",
    -- gfp | number | gfp flags of that allocation.
    -- Null: not known.
    gfp,
    -- node | number | Node of the memory.
    -- Null: not known.
    nid,
    -- pfn | number | First page frame.
    -- Null: not known.
    pfn,
    -- memory | bytes | Memory that was accepted; of accept.block the block.
    -- Null: the site does not tell.
    CASE WHEN level <> 3 OR (FROM requested) THEN bytes END AS bytes,
    -- asked | bytes | Memory that accept_memory() was asked for; in runs older than
    -- bytes_requested, bytes of accept.call was that.
    -- Null: not known.
    CASE WHEN level <> 3 OR (FROM requested) THEN bytes_requested ELSE bytes END AS asked_bytes,
    -- | number | Bits of the column flags.
    flags,
    -- inside | text | The event that it was nested in, as its row says.
    -- Null: in none, or not known.
    parent::VARCHAR AS parent
FROM every;
