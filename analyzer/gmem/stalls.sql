-- SPDX-License-Identifier: Apache-2.0
-- Regions of a guest's memory whose faults came late: a stall and slow work told apart.
--
-- A gap before a fault is that of its region (fault_gaps); before the first fault of a region,
-- and before one whose place is not known, it is that of the whole VM.  So a pause of the VM is
-- in the row of the region where it went on.
--
-- The pace of a region is the median gap of its faults, but for its first.  A gap is a pause if
-- it is ten times the pace and a hundredth of the span; under eight faults tell no pace, and a
-- pause is then a gap of a second or more, which no fault and no work between two faults takes.
--
-- Verdicts: "one gap": the longest gap is a pause, and at least half of the time from the first
-- gap or fault to the end of the last fault; the region waited for something else, or was left
-- alone.  "gaps": not so, but all pauses together are.  "few": neither, of under eight faults.
-- "steady": the time went into the faults and between them evenly.  A guest that comes back to a
-- region later makes a gap too: the run cannot tell why it stayed away.
-- Needs: run, faults, fault_gaps.
WITH f AS (
    SELECT *, coalesce(region_gap_ns, gap_ns) AS before_ns FROM faults JOIN fault_gaps USING (number)
),
regions AS (
    SELECT
        guest, any_value(vm) AS vm, any_value(task) AS task, region_gfn, any_value(region_pages) AS pages,
        count(*) AS faults,
        count(*) FILTER (memory = 'private') AS private,
        count(*) FILTER (memory = 'unknown') AS unknown,
        min(begin_ns) AS begin_ns,
        max(coalesce(end_ns, begin_ns)) AS end_ns,
        CASE WHEN count(*) = count(dur_ns) THEN sum(dur_ns)::BIGINT END AS busy_ns,
        coalesce(max(before_ns), 0) AS gap_ns,
        arg_max(begin_ns - before_ns, before_ns) FILTER (before_ns > 0) AS gap_at_ns,
        min(begin_ns - before_ns) AS reach_ns,
        CASE WHEN count(*) >= 8 THEN median(region_gap_ns) END AS pace_ns
    FROM f
    GROUP BY guest, region_gfn
),
paused AS (
    SELECT
        f.guest, f.region_gfn, count(*) AS pauses, sum(f.before_ns)::BIGINT AS paused_ns
    FROM f JOIN regions AS r ON f.guest = r.guest AND f.region_gfn IS NOT DISTINCT FROM r.region_gfn
    WHERE f.before_ns > 0 AND f.before_ns >= CASE
        WHEN r.pace_ns IS NULL THEN 1000000000
        ELSE greatest(10 * r.pace_ns, (r.end_ns - r.begin_ns) / 100)
    END
    GROUP BY ALL
),
judged AS (
    SELECT
        r.*,
        coalesce(p.pauses, 0) AS pauses,
        coalesce(p.paused_ns, 0) AS paused_ns,
        r.end_ns - least(r.begin_ns, coalesce(r.reach_ns, r.begin_ns)) AS all_ns
    FROM regions AS r
    LEFT JOIN paused AS p ON r.guest = p.guest AND r.region_gfn IS NOT DISTINCT FROM p.region_gfn
)
SELECT
    -- vm | number | The VM.
    -- Null: the run does not say which it was.
    vm,
    -- task | number, if any | Process (or first thread) of a VM that has no number.
    -- Null: it has one, or the trace has neither process nor thread.
    task,
    -- guest address | text | Where the region begins.
    -- Null: the place of these faults is not known.
    format('0x{:x}', region_gfn * (SELECT page_size FROM run)) AS start,
    -- | number | First page frame of the region.
    -- Null: the place of these faults is not known.
    region_gfn AS gfn,
    -- region | bytes | Length of the region.
    -- Null: the place of these faults is not known.
    CASE WHEN region_gfn IS NOT NULL THEN pages * (SELECT page_size FROM run) END AS bytes,
    -- faults | count | Faults in it, of whatever memory.
    faults,
    -- | count | Those known to be of private memory.
    -- Null: none is, and of some it is not known.
    CASE WHEN private > 0 OR unknown = 0 THEN private END AS private_faults,
    -- span | ns | From the start of the first of them to the end of the last.
    -- Bound: at least, where the last has no end.
    (end_ns - begin_ns)::BIGINT AS span_ns,
    -- in faults | ns | Time of the faults; above the span where vCPUs faulted side by side.
    -- Null: one of them has no end.
    busy_ns,
    -- longest gap | ns | The longest gap before one of them.
    -- Bound: at most, where the fault before has no end.
    gap_ns,
    -- | ns | When it began, since the start of the run.
    -- Null: there was none.
    gap_at_ns - (SELECT started_ns FROM run) AS gap_at_ns,
    -- | count | Gaps that are pauses.
    pauses,
    -- | ns | All of them together.
    paused_ns,
    -- verdict | text | "one gap", "gaps", "few" or "steady", by the rules above.
    CASE
        WHEN pauses > 0 AND gap_ns * 2 >= all_ns THEN 'one gap'
        WHEN pauses > 1 AND paused_ns * 2 >= all_ns THEN 'gaps'
        WHEN faults < 8 THEN 'few'
        ELSE 'steady'
    END AS verdict
FROM judged
ORDER BY gap_ns DESC, vm NULLS LAST, task NULLS LAST, region_gfn NULLS LAST;
