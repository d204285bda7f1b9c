-- SPDX-License-Identifier: Apache-2.0
-- What memory of a guest was prepared when, however often the run says it.
--
-- One row for each time that a unit of guest memory was prepared (made) or given back.  A unit is
-- a 2 MiB range of the guest where everything that happened to it was of the whole range, else a
-- page of 4 KiB: a folio of 2 MiB or 1 GiB and the small pages that a hole left of it are so told
-- apart, and none is counted twice.
--
-- Prepared is what gmem.prepare and gmem.populate made; of a VM without any gmem.prepare (TDX on
-- a kernel without that hook) what gmem.assign did.  Failed calls made nothing.  A preparation
-- may name any page of its folio (6.11): its pfn tells where that begins.
-- Needs: guest_rows.
CREATE TEMP TABLE life AS
WITH holes AS (
    SELECT
        tid, ts_ns, ts_ns - dur_ns AS begin_ns, gfn, gfn + asked AS end_gfn,
        greatest((gfn + asked) // 512 - (gfn + 511) // 512, 0) = 0 AS small
    FROM guest_rows
    WHERE event = 'gmem.punch' AND flags & 256 = 0 AND gfn IS NOT NULL AND asked > 0 AND dur_ns IS NOT NULL
),
freed AS (
    SELECT
        f.*, h.gfn AS hole, h.end_gfn AS hole_end, h.small,
        f.parent = 'gmem.punch' AND h.begin_ns <= f.ts_ns AS inside
    FROM (FROM guest_rows WHERE event = 'gmem.free') AS f
    ASOF LEFT JOIN holes AS h ON f.tid = h.tid AND f.ts_ns <= h.ts_ns
),
calls AS (
    SELECT
        vm, gfn - coalesce(pfn % pages, 0) AS gfn, pages, ts_ns, dur_ns, event, true AS made,
        NULL::BIGINT AS hole, NULL::BIGINT AS hole_end, NULL::BOOLEAN AS small
    FROM guest_rows
    WHERE flags & 256 = 0 AND (
        event = 'gmem.prepare'
        OR (event = 'gmem.assign' AND parent IS DISTINCT FROM 'gmem.populate'
            AND vm NOT IN (SELECT vm FROM guest_rows WHERE event = 'gmem.prepare' AND vm IS NOT NULL)))
    UNION ALL
    SELECT vm, gfn, pages, ts_ns, dur_ns, event, true, NULL, NULL, NULL
    FROM guest_rows WHERE event = 'gmem.populate'
    UNION ALL
    SELECT
        vm, gfn, pages, ts_ns, dur_ns, event, false,
        CASE WHEN inside THEN hole END, CASE WHEN inside THEN hole_end END, CASE WHEN inside THEN small END
    FROM freed
),
numbered AS (
    SELECT *, row_number() OVER () AS call
    FROM calls WHERE vm IS NOT NULL AND gfn IS NOT NULL AND pages > 0
),
split AS (
    SELECT *, unnest(range(gfn // 512, (gfn + pages - 1) // 512 + 1)) AS range FROM numbered
),
pieces AS MATERIALIZED (
    SELECT
        vm, range, ts_ns, made, event, call, dur_ns, small,
        greatest(gfn, range * 512) AS gfn,
        (least(gfn + pages, (range + 1) * 512) - greatest(gfn, range * 512))::BIGINT AS pages,
        hole > range * 512 OR hole_end < (range + 1) * 512 AS part
    FROM split
),
mixed AS (
    SELECT vm, range FROM pieces GROUP BY vm, range HAVING min(pages) < 512
),
units AS (
    SELECT * FROM pieces ANTI JOIN mixed USING (vm, range)
    UNION ALL
    SELECT * REPLACE (gfn + unnest(range(pages)) AS gfn, 1 AS pages)
    FROM pieces SEMI JOIN mixed USING (vm, range)
)
SELECT
    -- vm | number | The VM.
    vm,
    -- | number | The 2 MiB range of the guest that the unit is in.
    range,
    -- page | number | First guest page frame of the unit.
    gfn,
    -- pages | number | 1 or 512.
    pages,
    -- end | ns | End of the call, CLOCK_BOOTTIME.
    ts_ns,
    -- made | text | Whether it was prepared, not given back.
    made,
    -- event | text | What did it.
    event,
    -- | number | Number of the call, which may be of several units.
    call,
    -- took | ns | Length of the call.
    -- Null: not known.
    dur_ns,
    -- | text | Whether the hole that gave it back covers its range in part.
    -- Null: no hole did, or it is not known.
    part,
    -- | text | Whether that hole covers no range as a whole.
    -- Null: no hole did, or it is not known.
    small,
    -- | text | Whether the unit was prepared just before.
    coalesce(lag(made) OVER w, false) AS held,
    -- | text | Whether it had been prepared at some time before.
    coalesce(bool_or(made) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS earlier
FROM units
WINDOW w AS (PARTITION BY vm, gfn ORDER BY ts_ns);
