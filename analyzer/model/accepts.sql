-- SPDX-License-Identifier: Apache-2.0
-- Acceptances, one row for each, numbered from 1 by their start.
--
-- An acceptance is one block off a zone's list, or one call of accept_memory() or of the
-- platform's accept outside of any.  Each is one row whatever saw it: accept.block, accept.call
-- and accept.arch of the same one are told by their thread and time (accept_rows).  A burst in
-- which nothing else was seen counts as one; one without a length only where the run has
-- nothing else.
--
-- Start and end: of the outermost row that saw it, of the others where they reach farther.
-- Its work is the accepting itself: the time of the innermost event that has one.
-- Needs: accept_levels, accept_rows, accept_nesting, traced.
CREATE TEMP TABLE accepts AS
WITH parts AS (
    SELECT
        r.* EXCLUDE (thread, tid, pid, comm, cgroup, "order", gfp, parent),
        n.head,
        n.held,
        nullif(n.victim, -1) AS victim
    FROM accept_rows AS r JOIN accept_nesting AS n USING (id)
    WHERE r.level > 0
),
bursts AS (
    SELECT held FROM parts WHERE level > 1 GROUP BY held
),
counted AS (
    SELECT * FROM parts
    WHERE level > 1
        OR id NOT IN (SELECT held FROM bursts)
        AND (dur_ns IS NOT NULL OR NOT EXISTS (FROM bursts))
),
grouped AS (
    SELECT
        head,
        min(level) AS level,
        max(level) AS innermost,
        max(level) FILTER (dur_ns IS NOT NULL) AS deepest,
        min(begin_ns) AS begin_ns,
        max(end_ns) AS end_ns,
        max(dur_ns) FILTER (id = head) AS head_ns,
        min(begin_ns) FILTER (level = 3) AS call_begin_ns,
        max(end_ns) FILTER (level = 3) AS call_end_ns,
        sum(dur_ns) FILTER (level = 3) AS call_ns,
        min(begin_ns) FILTER (level = 4) AS arch_begin_ns,
        max(end_ns) FILTER (level = 4) AS arch_end_ns,
        sum(dur_ns) FILTER (level = 4) AS arch_ns,
        bit_or(flags) AS flags,
        bit_or(flags) FILTER (level = 3) AS call_flags,
        bit_or(flags & ~16) FILTER (level = 4) | bit_and(flags & 16) FILTER (level = 4) AS arch_flags,
        sum(bytes) FILTER (level = 3) AS call_bytes,
        CASE WHEN count(bytes) FILTER (level = 4) = count(*) FILTER (level = 4)
            THEN sum(bytes) FILTER (level = 4) END AS arch_bytes,
        max(bytes) FILTER (level <= 2) AS block_bytes,
        max(asked_bytes) FILTER (level = 3) AS asked_bytes,
        any_value(held) AS held,
        any_value(victim) AS victim,
        arg_min(cpu, level) AS cpu,
        arg_min(nid, level) AS nid,
        arg_min(pfn, level) AS pfn
    FROM counted GROUP BY head
),
working AS (
    SELECT *, coalesce(deepest, innermost) AS work_level FROM grouped
),
numbered AS (
    SELECT head, row_number() OVER (ORDER BY begin_ns, end_ns, head) AS number FROM grouped
),
blocks AS (
    SELECT flags & 1024 <> 0 AS imported FROM parts WHERE level = 2
    UNION
    SELECT false FROM traced WHERE event = 'accept.block'
)
SELECT
    -- accept | number | Its number, from 1, by its start.
    n.number,
    -- | number | The outermost of accept_rows that saw it.
    g.head AS id,
    -- seen as | text | The event of that row, the best source of what it was: accept.block, else
    -- accept.call, accept.arch, accept.burst.
    s.event,
    -- | text | Whether it came off a zone's list, so that nr_unaccepted fell by it.
    -- Null: blocks were not traced, so that calls for other reasons are not told apart.
    CASE WHEN g.level <= 2 OR h.parent IN ('accept.block', 'accept.burst') THEN true
        WHEN (g.flags & 1024 <> 0) IN (SELECT imported FROM blocks) THEN false END AS queued,
    -- at | ns | Its start, CLOCK_BOOTTIME.
    g.begin_ns,
    -- | ns | Its end.
    g.end_ns,
    -- took | ns | From start to end; waiting for others' accepts is in it.
    -- Null: no event of it has a length.
    -- Bound: see time.
    CASE WHEN g.deepest IS NOT NULL THEN g.end_ns - g.begin_ns END AS dur_ns,
    -- time | text | What the times are: exact; estimated, where a trace has the entry alone of a
    -- function; at least, where the outermost event has no length and an inner one has.
    -- Null: they are unknown.
    CASE WHEN g.deepest IS NULL THEN NULL WHEN g.flags & 4 <> 0 THEN 'estimated'
        WHEN g.head_ns IS NULL THEN 'at least' ELSE 'exact' END AS time,
    -- | ns | Entry of accept_memory().
    -- Null: it was not seen from entry to return.
    CASE WHEN g.call_ns IS NOT NULL THEN g.call_begin_ns END AS call_begin_ns,
    -- | ns | Return of accept_memory().
    -- Null: it was not seen from entry to return.
    CASE WHEN g.call_ns IS NOT NULL THEN g.call_end_ns END AS call_end_ns,
    -- event | text | The innermost event that has a time, whose time is that of the work: best
    -- accept.arch, else accept.call, accept.block, accept.burst.
    w.event AS work_event,
    -- | ns | Start of the work.
    CASE g.work_level WHEN 4 THEN g.arch_begin_ns WHEN 3 THEN g.call_begin_ns ELSE g.begin_ns END
        AS work_begin_ns,
    -- | ns | End of the work.
    CASE g.work_level WHEN 4 THEN g.arch_end_ns WHEN 3 THEN g.call_end_ns ELSE g.end_ns END AS work_end_ns,
    -- work | ns | Time of that event, summed where the platform accepted the range in parts.
    -- Null: no event of it has a length.
    (CASE g.work_level WHEN 4 THEN g.arch_ns WHEN 3 THEN g.call_ns ELSE g.head_ns END)::BIGINT AS work_ns,
    -- | number | Bits of the column flags that hold for the work.
    CASE g.work_level WHEN 4 THEN g.arch_flags WHEN 3 THEN g.call_flags ELSE h.flags END AS work_flags,
    -- memory | bytes | Memory that was really accepted: as the platform's accepts say.
    -- Null: no event of it tells.
    (CASE WHEN g.innermost = 4 THEN g.arch_bytes ELSE g.call_bytes END)::BIGINT AS bytes,
    -- asked | bytes | Memory that accept_memory() was asked for: the block.
    -- Null: not known.
    coalesce(g.asked_bytes, g.block_bytes) AS asked_bytes,
    -- range | bytes | Memory that left the zone's list with it: the block, else what was asked for.
    -- Null: not known.
    coalesce(g.block_bytes, g.asked_bytes, g.call_bytes, g.arch_bytes)::BIGINT AS range_bytes,
    -- pfn | number | First page frame of the block or range.
    -- Null: not known.
    g.pfn,
    -- node | number | Node of the memory.
    -- Null: not known.
    g.nid,
    -- cpu | number | CPU at the end.
    -- Null: not known.
    g.cpu,
    -- | number | Thread, as in accept_rows.
    h.thread,
    -- | number | Thread as recorded.
    -- Null: not known.
    h.tid,
    -- pid | number | Process.
    -- Null: not known.
    h.pid,
    -- comm | text | Name of the thread.
    -- Null: not known.
    h.comm,
    -- cgroup | text | Its cgroup.
    -- Null: not recorded.
    h.cgroup,
    -- order | number | Order of the allocation that it was for, as its own row knows it.
    -- Null: not known.
    h."order",
    -- gfp | number | gfp flags of that allocation.
    -- Null: not known.
    h.gfp,
    -- | text | Whether the recorder caused it.
    g.flags & 64 <> 0 AS own,
    -- inside | text | The event that it was nested in, as its row says.
    -- Null: in none, or not known.
    h.parent,
    -- | number | Of accept_rows, the outermost row of acceptance around it: the burst, or its own.
    g.held,
    -- | number | Of accept_rows, what waited for it.
    -- Null: no allocation (and no memory coming online) was seen around it.
    g.victim
FROM working AS g JOIN numbered AS n USING (head) JOIN accept_rows AS h ON h.id = g.head
JOIN accept_levels AS s ON s.level = g.level JOIN accept_levels AS w ON w.level = g.work_level;
