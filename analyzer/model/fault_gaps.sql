-- SPDX-License-Identifier: Apache-2.0
-- Of each fault, how long none of its VM had been under way when it began.
--
-- A gap begins with the latest end of the faults before, and ends with the fault's start; it is
-- 0 where one was still under way.  A fault without an end counts as ended when it began: the
-- gap after it holds the fault's own length too.
-- Needs: faults.
CREATE TEMP TABLE fault_gaps AS
WITH of_guest AS (
    SELECT
        *,
        max(coalesce(end_ns, begin_ns)) OVER before AS until_ns,
        arg_max(number, coalesce(end_ns, begin_ns)) OVER before AS last
    FROM faults
    WINDOW before AS (
        PARTITION BY guest ORDER BY begin_ns, number
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
of_region AS (
    SELECT
        number,
        max(coalesce(end_ns, begin_ns)) OVER (
            PARTITION BY guest, region_gfn ORDER BY begin_ns, number
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS until_ns
    FROM faults
    WHERE region_gfn IS NOT NULL
)
SELECT
    -- fault | number | The fault that ended the gap (faults).
    g.number,
    -- | number | The last fault before it: of all that had begun, the one that ended last.
    -- Null: it is the first of its VM.
    g.last,
    -- gap | ns | Time without a fault of the VM under way.
    -- Null: it is the first of its VM.
    -- Bound: at most, where the fault before has no end.
    CASE WHEN g.until_ns IS NOT NULL THEN greatest(g.begin_ns - g.until_ns, 0) END AS gap_ns,
    -- gap in its region | ns | Time without a fault of its region under way.
    -- Null: it is the first of its region, or its region is not known.
    -- Bound: at most, where the fault before has no end.
    CASE WHEN r.until_ns IS NOT NULL THEN greatest(g.begin_ns - r.until_ns, 0) END AS region_gap_ns
FROM of_guest AS g LEFT JOIN of_region AS r USING (number);
