-- SPDX-License-Identifier: Apache-2.0
-- Ranges that changed between private and shared, and back: conversions by their exact range.
--
-- Of gmem.convert that changed something.  The table vms has all changes.
-- Needs: run, guest_rows.
WITH changes AS (
    SELECT
        vm, gfn, asked, dur_ns,
        flags & 4096 <> 0 AS private,
        ts_ns - lag(ts_ns) OVER (PARTITION BY vm, gfn, asked ORDER BY ts_ns) AS since_ns
    FROM guest_rows
    WHERE event = 'gmem.convert' AND flags & 16640 = 0 AND gfn IS NOT NULL AND asked IS NOT NULL
),
ranges AS (
    SELECT
        vm, gfn, asked,
        count(*) FILTER (private) AS to_private,
        count(*) FILTER (NOT private) AS to_shared,
        CASE WHEN count(*) = count(dur_ns) THEN sum(dur_ns)::BIGINT END AS total_ns,
        median(since_ns)::BIGINT AS median_ns
    FROM changes
    GROUP BY vm, gfn, asked
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    vm,
    -- | number | First guest page frame of the range.
    gfn,
    -- guest address | text | Where the range begins.
    format('0x{:x}', gfn * (SELECT page_size FROM run)) AS start,
    -- range | bytes | Its length.
    asked * (SELECT page_size FROM run) AS bytes,
    -- round trips | count | The smaller of the changes to private and to shared.
    least(to_private, to_shared) AS round_trips,
    -- ->private | count | Changes to private.
    to_private,
    -- ->shared | count | Changes to shared.
    to_shared,
    -- in the calls | ns | Time of all of them.
    -- Null: that of one is not known.
    total_ns,
    -- between | ns | Median time between two changes of the range.
    median_ns,
    -- | bytes | Guest-physical address where the range begins.
    gfn * (SELECT page_size FROM run) AS start_bytes
FROM ranges
WHERE to_private > 0 AND to_shared > 0
ORDER BY to_private + to_shared DESC, vm, gfn;
