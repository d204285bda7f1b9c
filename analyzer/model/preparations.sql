-- SPDX-License-Identifier: Apache-2.0
-- Calls that prepared private memory and did not fail, at the level that says most.
--
-- Of a VM with any gmem.assign (rmp_make_private(), tdh_mem_page_aug()) these, whose level is the
-- hardware's; of another gmem.prepare, whose level is the order of the folio.
-- Needs: guest_rows.
CREATE TEMP TABLE preparations AS
SELECT
    -- event | text | gmem.assign or gmem.prepare.
    event,
    -- vm | number | The VM.
    -- Null: not known.
    vm,
    -- page | number | First guest page frame.
    -- Null: not known.
    gfn,
    -- | number | The 2 MiB range of the guest that it begins in.
    -- Null: not known.
    range,
    -- pages | number | Pages prepared.
    -- Null: not known.
    pages,
    -- order | number | 0, 9 or 18: 4 KiB, 2 MiB, 1 GiB.
    level,
    -- pfn | number | First page frame of the host.
    -- Null: not known.
    pfn,
    -- end | ns | Its end, CLOCK_BOOTTIME.
    ts_ns,
    -- took | ns | Its length.
    -- Null: not known.
    dur_ns
FROM guest_rows
WHERE flags & 256 = 0 AND level IS NOT NULL AND (
    event = 'gmem.assign'
    OR (event = 'gmem.prepare'
        AND vm NOT IN (SELECT vm FROM guest_rows WHERE event = 'gmem.assign' AND vm IS NOT NULL)));
