-- SPDX-License-Identifier: Apache-2.0
-- Times in which a 2 MiB range of a guest was in a page of 2 MiB or more.
--
-- Start: a preparation at that level (preparations); a second one before the end changes nothing.
-- End, the first of: "split", gmem.split of its frames, the RMP entry became 512; "part punched"
-- and "punched", a hole over a part or all of it; "part shared" and "shared", a conversion
-- likewise; "4 KiB again", a preparation at 4 KiB inside it; "freed", its memory given back without
-- a hole, as at the end of a VM.
-- Needs: guest_rows, preparations.
CREATE TEMP TABLE covered AS
WITH folios AS (
    SELECT *, unnest(range(1::BIGINT << (level - 9))) AS part
    FROM preparations WHERE level >= 9 AND gfn IS NOT NULL
),
huge AS (
    SELECT vm, range + part AS range, ts_ns, pfn // 512 + part AS frame FROM folios
),
splits AS (
    SELECT *, pfn // 512 AS frame FROM guest_rows WHERE event = 'gmem.split' AND flags & 16640 = 0
),
changed AS (
    SELECT
        vm, ts_ns, gfn, asked, event,
        unnest(range(gfn // 512, (gfn + asked - 1) // 512 + 1)) AS r
    FROM guest_rows
    WHERE flags & 256 = 0 AND gfn IS NOT NULL AND asked > 0
        AND (event = 'gmem.punch' OR (event = 'gmem.convert' AND flags & 20480 = 0))
),
freed AS (
    SELECT vm, ts_ns, unnest(range(range, (gfn + pages - 1) // 512 + 1)) AS range
    FROM guest_rows WHERE event = 'gmem.free' AND parent IS NULL AND gfn IS NOT NULL
),
ends AS (
    SELECT coalesce(s.vm, h.vm) AS vm, coalesce(s.range, h.range) AS range, s.ts_ns, 'split' AS cause
    FROM splits AS s ASOF LEFT JOIN huge AS h ON s.frame = h.frame AND s.ts_ns >= h.ts_ns
    UNION ALL
    SELECT
        vm, r, ts_ns,
        CASE WHEN gfn <= r * 512 AND gfn + asked >= (r + 1) * 512 THEN '' ELSE 'part ' END
        || CASE WHEN event = 'gmem.punch' THEN 'punched' ELSE 'shared' END
    FROM changed
    UNION ALL
    SELECT vm, range, ts_ns, '4 KiB again' FROM preparations WHERE level < 9
    UNION ALL
    SELECT vm, range, ts_ns, 'freed' FROM freed
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    h.vm,
    -- | number | The 2 MiB range of the guest.
    h.range,
    -- start | ns | Its start.
    min(h.ts_ns) AS ts_ns,
    -- end | ns | Its end.
    -- Null: it lasted to the end of the run.
    e.ts_ns AS end_ns,
    -- ended by | text | What ended it, by the words above.
    -- Null: it lasted to the end of the run.
    any_value(e.cause) AS cause
FROM huge AS h
ASOF LEFT JOIN ends AS e ON h.vm = e.vm AND h.range = e.range AND h.ts_ns < e.ts_ns
GROUP BY h.vm, h.range, e.ts_ns;
