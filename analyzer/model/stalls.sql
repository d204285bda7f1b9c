-- SPDX-License-Identifier: Apache-2.0
-- Stalls: each time that a task was kept by acceptance, what it had asked for, and what it paid.
--
-- A stall is all the acceptance inside one allocation (get_page_from_freelist()):
-- cond_accept_memory() accepts block after block until the zone is above its watermark, and one
-- unlucky request, of order 0 most often, pays for all of them.  Acceptance that no allocation
-- was seen around (page isolation, kexec, a run without alloc) is one stall for each of waits.
-- The recorder's own are real, counted wherever memory is, but nobody's loss.
--
-- Start: of the first wait.  End: of the last.
-- Needs: accepts, waits, accept_rows.
CREATE TEMP TABLE stalls AS
WITH paid AS (
    SELECT
        w.stall,
        count(*) AS accepts,
        count_if(a.queued IS DISTINCT FROM false)::BIGINT AS blocks,
        (sum(coalesce(a.bytes, a.asked_bytes)))::BIGINT AS size,
        count_if(coalesce(a.bytes, a.asked_bytes) IS NULL) AS unsized
    FROM accepts AS a JOIN waits AS w ON w.id = a.held GROUP BY w.stall
),
kept AS (
    SELECT
        stall,
        min(begin_ns) AS begin_ns,
        max(end_ns) AS end_ns,
        CASE WHEN count(*) = count(dur_ns) THEN sum(dur_ns)::BIGINT END AS lost_ns,
        bool_or(burst) AS burst,
        any_value(victim) AS victim,
        bool_or(own) AS own,
        first(id ORDER BY begin_ns, id) AS wait
    FROM waits GROUP BY stall
)
SELECT
    -- stall | number | Its number, from 1 by time.
    k.stall AS number,
    -- at | ns | Its start, CLOCK_BOOTTIME.
    k.begin_ns,
    -- | ns | Its end.
    k.end_ns,
    -- lost | ns | Time of its waits: for the zone's lock and for others' accepts included, the
    -- rest of the allocation (zeroing, the free lists) not.
    -- Null: one of them has no length.
    k.lost_ns,
    -- accepts | count | Acceptances in it.
    p.accepts,
    -- blocks | count | Of these, those that may have come off a zone's list.
    p.blocks,
    -- memory | bytes | Memory accepted in it: really accepted, where that is known, else asked for.
    -- Null: it is unknown of one of them.
    CASE WHEN p.unsized = 0 THEN p.size END AS bytes,
    -- order | number | Order that the allocation asked for.
    -- Null: not known.
    CASE WHEN v.id IS NULL THEN w."order" ELSE v."order" END AS "order",
    -- gfp | number | gfp flags of the allocation.
    -- Null: not known.
    CASE WHEN v.id IS NULL THEN w.gfp ELSE v.gfp END AS gfp,
    -- | text | Whether it lies in an allocation (or memory coming online) that was seen.
    v.id IS NOT NULL AS held,
    -- | text | Whether it is all that one allocation accepted: such an allocation, or a burst,
    -- was seen.
    v.id IS NOT NULL OR k.burst AS request,
    -- | text | Whether the recorder caused it.
    k.own,
    -- | number | The first of its waits, which tells task, node and CPU.
    k.wait
FROM kept AS k JOIN paid AS p USING (stall) JOIN waits AS w ON w.id = k.wait
LEFT JOIN accept_rows AS v ON v.id = k.victim;
