-- SPDX-License-Identifier: Apache-2.0
-- Where the time of a first touch goes (touches): one row for each VM and part, which add up.
--
-- A touch of which the time of some part is unknown is left out.
-- Needs: touches, exact.
WITH sums AS (
    SELECT
        vm,
        count(*) AS faults,
        sum(dur_ns)::BIGINT AS fault_ns,
        sum(allocation_ns)::BIGINT AS allocation_ns,
        sum(zeroing_ns)::BIGINT AS zeroing_ns,
        sum(preparation_ns)::BIGINT AS preparation_ns,
        sum(lookup_ns)::BIGINT AS lookup_ns,
        sum(rest_ns)::BIGINT AS rest_ns
    FROM touches
    WHERE timed
    GROUP BY vm
),
parts AS (
    SELECT vm, faults, fault_ns, 1 AS place, 'allocation' AS part,
        CASE WHEN 'alloc' IN (FROM exact) THEN allocation_ns END AS ns FROM sums
    UNION ALL
    SELECT vm, faults, fault_ns, 2, 'zeroing',
        CASE WHEN 'gmem.zero' IN (FROM exact) THEN zeroing_ns END FROM sums
    UNION ALL
    SELECT vm, faults, fault_ns, 3, 'preparation',
        CASE WHEN 'gmem.prepare' IN (FROM exact) THEN preparation_ns END FROM sums
    UNION ALL
    SELECT vm, faults, fault_ns, 4, 'lookup', lookup_ns FROM sums
    UNION ALL
    SELECT vm, faults, fault_ns, 5, 'rest', rest_ns FROM sums
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    vm,
    -- part | text | allocation, zeroing, preparation, lookup (what is left of gmem.get) or rest.
    part,
    -- faults | count | First touches that it is of.
    faults,
    -- time | ns | Time of this part in all of them.
    -- Null: its event was not recorded with a time, and is in the look-up.
    ns AS total_ns,
    -- share | share | Of the time of these faults.
    -- Null: the time is not known, or all of it is 0.
    ns / nullif(fault_ns, 0) AS share,
    -- a fault | ns | Time a fault.
    -- Null: the time is not known.
    ns / faults AS ns_per_fault
FROM parts
ORDER BY vm, place;
