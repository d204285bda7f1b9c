-- SPDX-License-Identifier: Apache-2.0
-- Pages of a VM that guest_memfd took into use, and what is known of their clearing, in 4 KiB
-- pages.
--
-- The allocation of a folio is the last alloc before with its pfn and order.
-- Needs: guest_rows.
WITH used AS (
    SELECT
        vm,
        coalesce(sum(pages) FILTER (event = 'gmem.prepare' AND flags & 256 = 0), 0)::BIGINT AS prepared,
        coalesce(sum(pages) FILTER (event = 'gmem.zero'), 0)::BIGINT AS zeroed
    FROM guest_rows
    WHERE event IN ('gmem.zero', 'gmem.prepare')
    GROUP BY vm
),
allocated AS (
    SELECT
        u.vm,
        sum(u.pages)::BIGINT AS pages,
        coalesce(sum(u.pages) FILTER (a.flags IS NOT NULL), 0)::BIGINT AS found,
        coalesce(sum(u.pages) FILTER (a.flags & 1 <> 0), 0)::BIGINT AS zeroed
    FROM (FROM guest_rows WHERE event = 'gmem.zero') AS u
    ASOF LEFT JOIN (FROM guest_rows WHERE event = 'alloc' AND pfn IS NOT NULL) AS a
        ON u.pfn = a.pfn AND u.level = a.level AND u.ts_ns >= a.ts_ns
    GROUP BY u.vm
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    u.vm,
    -- | count | Pages that gmem.prepare made private.
    u.prepared,
    -- | count | Pages that guest_memfd cleared.
    u.zeroed,
    -- | count | Of these, those whose size is known.
    -- Null: it cleared none.
    a.pages AS sized,
    -- | count | Of these, those whose allocation was recorded.
    -- Null: it cleared none.
    a.found AS allocated,
    -- | count | Of these, those that the allocator cleared.
    -- Null: it cleared none.
    a.zeroed AS allocated_zeroed
FROM used AS u LEFT JOIN allocated AS a ON u.vm IS NOT DISTINCT FROM a.vm
ORDER BY u.vm;
