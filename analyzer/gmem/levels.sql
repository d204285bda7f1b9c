-- SPDX-License-Identifier: Apache-2.0
-- At which level private memory was prepared, and what a MiB of it cost (preparations).
--
-- Times are of the calls whose time is known, inclusive of splits, exact where the site is.
-- Needs: run, virtual_machines, guest_rows, preparations.
WITH fell_back AS (
    SELECT i.vm, count(*) AS calls
    FROM (FROM guest_rows WHERE event = 'gmem.assign' AND level = 0 AND flags & 256 = 0) AS i
    ASOF JOIN (FROM guest_rows WHERE event = 'gmem.prepare' AND level >= 9) AS o
        ON i.tid = o.tid AND i.ts_ns <= o.ts_ns
    WHERE o.ts_ns - o.dur_ns <= i.ts_ns - coalesce(i.dur_ns, 0)
    GROUP BY i.vm
),
summed AS (
    SELECT
        vm,
        level,
        min(event) AS event,
        count(*) AS calls,
        CASE WHEN count(*) = count(pages) THEN sum(pages)::BIGINT END AS pages,
        sum(dur_ns)::BIGINT AS total_ns,
        count(dur_ns) AS timed,
        sum(pages) FILTER (dur_ns IS NOT NULL)::BIGINT AS timed_pages
    FROM preparations
    GROUP BY vm, level
),
shared_out AS (
    SELECT
        *,
        CASE WHEN count(*) OVER of_vm = count(pages) OVER of_vm THEN sum(pages) OVER of_vm END AS all_pages
    FROM summed
    WINDOW of_vm AS (PARTITION BY vm)
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    s.vm,
    -- order | number | 0, 9 or 18: 4 KiB, 2 MiB, 1 GiB.
    s.level,
    -- seen as | text | The event: gmem.assign or gmem.prepare.
    s.event,
    -- calls | count | Preparations that did not fail.
    s.calls,
    -- memory | bytes | Memory that they prepared.
    -- Null: that of some call is not known.
    s.pages * (SELECT page_size FROM run) AS bytes,
    -- share | share | Of the VM's memory prepared.
    -- Null: some of it is not known.
    s.pages / nullif(s.all_pages, 0) AS memory_share,
    -- total | ns, mark > where untimed_calls | Time of the calls whose time is known.
    -- Null: that of none is.
    s.total_ns,
    -- untimed | count, if any | The other calls, whose time is in no column.
    s.calls - s.timed AS untimed_calls,
    -- a call | ns | Time over the calls that it is of.
    -- Null: it is not known of any.
    s.total_ns / nullif(s.timed, 0) AS ns_per_call,
    -- a MiB | ns | Time over the memory that it is of.
    -- Null: one of them is not known.
    CASE WHEN s.pages > 0 THEN
        s.total_ns / (nullif(s.timed_pages, 0) * (SELECT page_size FROM run) / 1048576.0)
    END AS ns_per_mib,
    -- fallback | count, if any | Preparations at 4 KiB of a page whose folio was of 2 MiB or more.
    CASE WHEN s.level = 0 THEN coalesce(b.calls, 0) ELSE 0 END AS fallbacks,
    -- | text | Whether the VM is SNP or TDX; else the hook returned at once, and its time is the
    -- price of a call.
    -- Null: the kind of VM is not known.
    CASE WHEN v.kind <> '' THEN v.kind IN ('snp', 'tdx') END AS in_hardware
FROM shared_out AS s
LEFT JOIN fell_back AS b ON s.vm IS NOT DISTINCT FROM b.vm
LEFT JOIN virtual_machines AS v ON s.vm = v.number
ORDER BY s.vm, s.level, s.event;
