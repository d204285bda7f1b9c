-- SPDX-License-Identifier: Apache-2.0
-- A guest's physical memory by state, at the last event before its memory was given back for good.
--
-- States of a 2 MiB range, the first that holds: "2 MiB", covered by a 2 MiB preparation;
-- "shared", the last conversion made all of it shared; "4 KiB", all of it prepared or populated,
-- by 4 KiB; "in part", some of it prepared; "empty", private, or never converted, and nothing of
-- it prepared.  Runs of equal ranges are one row; ranges before the first and after the last
-- event are left out.
-- Needs: run, guest_rows, life, covered.
WITH ended AS (
    SELECT vm, max(ts_ns) AS at_ns
    FROM guest_rows WHERE event <> 'gmem.free' OR parent = 'gmem.punch'
    GROUP BY vm
),
units AS (
    SELECT l.vm, l.range, any_value(l.pages) AS pages, arg_max(l.made, l.ts_ns) AS made
    FROM life AS l JOIN ended AS e ON l.vm = e.vm AND l.ts_ns <= e.at_ns
    GROUP BY l.vm, l.range, l.gfn
),
prepared AS (
    SELECT vm, range, sum(pages)::BIGINT AS pages FROM units WHERE made GROUP BY vm, range
),
changed AS (
    SELECT
        vm, ts_ns, gfn, asked,
        flags & 4096 <> 0 AS private,
        unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS range
    FROM guest_rows
    WHERE event = 'gmem.convert' AND flags & 16640 = 0 AND gfn IS NOT NULL AND asked > 0
),
turned AS (
    SELECT vm, range, arg_max(private, ts_ns) AS private
    FROM changed
    WHERE private OR (gfn <= range * 512 AND gfn + asked >= (range + 1) * 512)
    GROUP BY vm, range
),
huge AS (
    SELECT DISTINCT c.vm, c.range
    FROM covered AS c JOIN ended AS e ON c.vm = e.vm
    WHERE c.end_ns IS NULL OR (c.cause = 'freed' AND c.end_ns > e.at_ns)
),
known AS (
    SELECT
        coalesce(p.vm, t.vm) AS vm,
        coalesce(p.range, t.range) AS range,
        coalesce(p.pages, 0) AS pages,
        t.private
    FROM prepared AS p FULL JOIN turned AS t ON p.vm = t.vm AND p.range = t.range
),
judged AS (
    SELECT
        k.vm, k.range, k.pages,
        CASE
            WHEN h.vm IS NOT NULL THEN '2 MiB'
            WHEN NOT k.private THEN 'shared'
            WHEN k.pages >= 512 THEN '4 KiB'
            WHEN k.pages > 0 THEN 'in part'
            ELSE 'empty'
        END AS state
    FROM known AS k LEFT JOIN huge AS h ON k.vm = h.vm AND k.range = h.range
    WHERE k.vm IS NOT NULL
),
stretches AS (
    SELECT *, range - row_number() OVER (PARTITION BY vm, state ORDER BY range) AS stretch FROM judged
)
SELECT
    -- vm | number | The VM.
    vm,
    -- guest address | text | Where the stretch begins.
    format('0x{:x}', min(range) * 512 * any_value((SELECT page_size FROM run))) AS start,
    -- | number | Its first guest page frame.
    min(range) * 512 AS gfn,
    -- length | bytes | Its length.
    count(*) * 512 * any_value((SELECT page_size FROM run)) AS bytes,
    -- state | text | Its state, by the words above.
    state,
    -- prepared | bytes | Memory in it that was prepared and not given back.
    (sum(pages) * any_value((SELECT page_size FROM run)))::BIGINT AS prepared_bytes
FROM stretches
GROUP BY vm, state, stretch
ORDER BY vm, gfn;
