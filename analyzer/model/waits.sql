-- SPDX-License-Identifier: Apache-2.0
-- Stretches of time in which acceptance kept a task, one row for each, by their start.
--
-- A stretch is a burst (what one allocation accepts in a row, the way from block to block
-- included), or an acceptance that lies in none.  Stretches inside one allocation, or inside one
-- memory coming online, are one stall; one that lies in neither is a stall by itself.
--
-- Start and end: of the burst or of the acceptance.
-- Needs: accepts, accept_rows.
CREATE TEMP TABLE waits AS
WITH held AS (
    SELECT
        a.held,
        any_value(a.victim) AS victim,
        coalesce(any_value(a.victim), -1 - a.held) AS key,
        bool_or(a.own) AS own,
        first(a.cpu ORDER BY a.number) AS cpu,
        first(a.nid ORDER BY a.number) AS nid
    FROM accepts AS a GROUP BY a.held
),
timed AS (
    SELECT
        h.*,
        r.level,
        coalesce(a.begin_ns, r.begin_ns) AS begin_ns,
        coalesce(a.end_ns, r.end_ns) AS end_ns,
        coalesce(r.dur_ns, a.dur_ns) AS dur_ns
    FROM held AS h JOIN accept_rows AS r ON r.id = h.held LEFT JOIN accepts AS a ON a.id = h.held
)
SELECT
    -- | number | Of accept_rows, the burst or the outermost row of the acceptance.
    r.id,
    -- stall | number | The stall that it is part of, from 1 by time.
    dense_rank() OVER (ORDER BY first_ns, key)::BIGINT AS stall,
    -- | text | Whether it is a burst, and so all that one allocation accepted.
    t.level = 1 AS burst,
    -- at | ns | Its start, CLOCK_BOOTTIME.
    t.begin_ns,
    -- | ns | Its end.
    t.end_ns,
    -- lost | ns | Its length.
    -- Null: no event of it has one.
    t.dur_ns,
    -- | number | Of accept_rows, what waited.
    -- Null: no allocation was seen around it.
    t.victim,
    -- | text | Whether the recorder caused it.
    t.own,
    -- | number | Thread, as in accept_rows.
    r.thread,
    -- | number | Thread as recorded.
    -- Null: not known.
    r.tid,
    -- pid | number | Process.
    -- Null: not known.
    r.pid,
    -- cpu | number | CPU.
    -- Null: not known.
    coalesce(r.cpu, t.cpu) AS cpu,
    -- node | number | Node of its first acceptance.
    -- Null: not known.
    coalesce(r.nid, t.nid) AS nid,
    -- comm | text | Name of the thread.
    -- Null: not known.
    r.comm,
    -- cgroup | text | Its cgroup.
    -- Null: not recorded.
    r.cgroup,
    -- order | number | Order asked for, as its own row knows it.
    -- Null: not known.
    r."order",
    -- gfp | number | gfp flags, as its own row knows them.
    -- Null: not known.
    r.gfp,
    -- inside | text | The event that it was nested in, as its row says.
    -- Null: in none, or not known.
    r.parent
FROM (SELECT *, min(begin_ns) OVER (PARTITION BY key) AS first_ns FROM timed) AS t
JOIN accept_rows AS r ON r.id = t.held;
