-- SPDX-License-Identifier: Apache-2.0
-- Times in which no fault of a VM was under way, whatever memory the faults around them were of.
--
-- The pace of a VM is the median gap before its faults (fault_gaps).  A gap is a pause if it is
-- ten times the pace and a hundredth of the time from the VM's first fault to its last; of under
-- eight faults, which tell no pace, if it is a second or more.  The run cannot tell whether the
-- guest was held up or had nothing to touch.
-- Needs: run, faults, fault_gaps.
WITH f AS (
    SELECT * FROM faults JOIN fault_gaps USING (number)
),
guests AS (
    SELECT
        guest,
        CASE WHEN count(*) >= 8
            THEN greatest(10 * median(gap_ns), (max(begin_ns) - min(begin_ns)) / 100)
            ELSE 1000000000
        END AS least_ns
    FROM f
    GROUP BY guest
)
SELECT
    -- vm | number | The VM.
    -- Null: the run does not say which it was.
    f.vm,
    -- task | number, if any | Process (or first thread) of a VM that has no number.
    -- Null: it has one, or the trace has neither process nor thread.
    f.task,
    -- since start | ns | When the pause began, since the start of the run.
    (f.begin_ns - f.gap_ns - (SELECT started_ns FROM run))::BIGINT AS at_ns,
    -- pause | ns | How long it was.
    -- Bound: at most, where the fault before has no end.
    f.gap_ns AS pause_ns,
    -- | number | vCPU of the fault before it.
    -- Null: not known.
    b.vcpu AS before_vcpu,
    -- from | text | Guest-physical address of the fault before it.
    -- Null: not known.
    format('0x{:x}', b.gpa) AS before_start,
    -- to | text | Guest-physical address of the fault that ended it.
    -- Null: not known.
    format('0x{:x}', f.gpa) AS after_start,
    -- vcpu | number | vCPU of the fault that ended it.
    -- Null: not known.
    f.vcpu AS after_vcpu
FROM f
JOIN guests AS g USING (guest)
JOIN faults AS b ON f.last = b.number
WHERE f.gap_ns > 0 AND f.gap_ns >= g.least_ns
ORDER BY f.gap_ns DESC, f.number;
