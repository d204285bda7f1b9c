-- SPDX-License-Identifier: Apache-2.0
-- 2 MiB ranges of a guest that holes covered in part, one row for each VM with any.
--
-- What was kept or freed is unknown where preparations or gmem.free have no site.
-- Needs: run, guest_rows, life, watched.
WITH touched AS (
    SELECT vm, ts_ns, gfn, asked, unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS range
    FROM guest_rows
    WHERE event = 'gmem.punch' AND flags & 256 = 0 AND gfn IS NOT NULL AND asked > 0
),
partly AS (
    SELECT vm, range, max(ts_ns) AS ts_ns, count(*) AS holes
    FROM touched
    WHERE gfn > range * 512 OR gfn + asked < (range + 1) * 512
    GROUP BY vm, range
),
units AS (
    SELECT
        l.vm, l.range,
        arg_max(l.made, l.ts_ns) AS made,
        any_value(l.pages) AS pages,
        coalesce(sum(l.pages) FILTER (NOT l.made AND l.held AND l.part), 0) AS freed
    FROM life AS l JOIN partly AS p ON l.vm = p.vm AND l.range = p.range AND l.ts_ns <= p.ts_ns
    GROUP BY l.vm, l.range, l.gfn
),
sums AS (
    SELECT vm, sum(pages) FILTER (made) AS kept, sum(freed) AS freed FROM units GROUP BY vm
),
ranges AS (
    SELECT vm, count(*) AS ranges, sum(holes)::BIGINT AS holes FROM partly GROUP BY vm
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    r.vm,
    -- 2M ranges | count | Ranges that a hole covered in part.
    r.ranges,
    -- holes in part | count | Holes over a part of one, in each.
    r.holes,
    -- prepared, still there | bytes | Prepared memory left in them after the last such hole: what
    -- cannot become a 2 MiB page again, or what a kernel that cannot split keeps.
    -- Null: preparations or gmem.free have no site.
    CASE WHEN k.known THEN (coalesce(s.kept, 0) * k.page_size)::BIGINT END AS kept_bytes,
    -- prepared, freed | bytes | Prepared memory that such holes gave back there.
    -- Null: preparations or gmem.free have no site.
    CASE WHEN k.known THEN (coalesce(s.freed, 0) * k.page_size)::BIGINT END AS freed_bytes
FROM ranges AS r
LEFT JOIN sums AS s USING (vm)
CROSS JOIN (
    SELECT
        page_size,
        'gmem.free' IN (FROM watched)
        AND ('gmem.prepare' IN (FROM watched) OR 'gmem.assign' IN (FROM watched)) AS known
    FROM run
) AS k
ORDER BY r.vm;
