-- SPDX-License-Identifier: Apache-2.0
-- By how much prepared and covered memory of a VM changed in each of 60 equal stretches of time
-- between its first and last event; stretches without any change are left out.
-- Needs: run, guest_rows, life, covered.
WITH spans AS (
    SELECT
        vm,
        min(ts_ns - coalesce(dur_ns, 0)) AS first_ns,
        greatest((max(ts_ns) - min(ts_ns)) // 60, 1) AS step_ns
    FROM guest_rows
    GROUP BY vm
),
changes AS (
    SELECT vm, ts_ns, CASE WHEN made THEN pages ELSE -pages END AS prepared, 0 AS covered
    FROM life WHERE made <> held
    UNION ALL
    SELECT vm, ts_ns, 0, 512 FROM covered
    UNION ALL
    SELECT vm, end_ns, 0, -512 FROM covered WHERE end_ns IS NOT NULL
)
SELECT
    -- vm | number | The VM.
    vm,
    -- | number | The stretch, from 0.
    least(greatest(ts_ns - first_ns, 0) // step_ns, 59)::INTEGER AS place,
    -- | ns | Start of the first stretch, since the start of the run.
    any_value(first_ns) - any_value((SELECT started_ns FROM run)) AS first,
    -- | ns | Length of a stretch.
    any_value(step_ns) AS length,
    -- | number | Pages prepared, less those given back.
    sum(prepared)::BIGINT AS prepared,
    -- | number | Pages covered, less those that ceased to be.
    sum(covered)::BIGINT AS covered
FROM changes JOIN spans USING (vm)
GROUP BY vm, place
ORDER BY vm, place;
