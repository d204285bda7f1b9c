-- SPDX-License-Identifier: Apache-2.0
-- Page faults that KVM took for guests (gmem.fault), one row for each, numbered from 1 by start.
--
-- Start: the fault reaches kvm_mmu_page_fault(), or the tracepoint kvm:kvm_page_fault before it.
-- End: that function returns.  The tracepoint has no end: how long the fault took, and whether
-- it failed or is taken again, is then not known.
--
-- What memory it was of needs evidence, and is "unknown" without:
-- "ordinary"  the VM cannot have private memory (KVM's type, kvm->arch.has_private_mem).
-- "private"   KVM said so: its bit in the error code, is_private of its own record of the fault,
--             or a look-up in the guest_memfd for that page before the thread's next fault.
-- "shared"    KVM did not say so where it would have: at the fault's end, or of an SNP guest also
--             at the tracepoint.  Of other VMs KVM may find out later than the tracepoint.
--
-- A VM that the run does not name goes by its task (guest_tasks).  Its memory, from the lowest
-- page that faulted to the highest, is in up to 64 regions of equal size: a power of two of
-- pages, at least 2 MiB.  Faults that the recorder caused are left out.
-- Needs: run, virtual_machines, guest_tasks.
CREATE TEMP TABLE faults AS
WITH seen AS (
    SELECT
        * EXCLUDE (event, parent),
        ts_ns - coalesce(dur_ns, 0) AS begin_ns,
        row_number() OVER (ORDER BY ts_ns - coalesce(dur_ns, 0), ts_ns, tid, gfn) AS number
    FROM events
    WHERE event::VARCHAR = 'gmem.fault' AND flags & 64 = 0
),
lookups AS (
    SELECT tid, gfn, ts_ns - coalesce(dur_ns, 0) AS begin_ns
    FROM events
    WHERE event::VARCHAR = 'gmem.get' AND parent::VARCHAR IS DISTINCT FROM 'gmem.prefault' AND flags & 64 = 0
),
found AS (
    SELECT DISTINCT f.number
    FROM lookups AS l ASOF JOIN seen AS f ON l.tid = f.tid AND l.begin_ns >= f.begin_ns
    WHERE l.gfn = f.gfn AND (f.dur_ns IS NULL OR l.begin_ns <= f.ts_ns)
),
named AS (
    SELECT f.*, CASE WHEN f.vm IS NULL THEN t.task END AS task
    FROM seen AS f
    LEFT JOIN guest_tasks AS t ON f.pid IS NOT DISTINCT FROM t.pid AND f.tid IS NOT DISTINCT FROM t.tid
),
guests AS (
    SELECT
        vm,
        task,
        row_number() OVER (ORDER BY vm NULLS LAST, task NULLS LAST)::INTEGER AS guest,
        greatest(9, ceil(log2((max(gfn) - min(gfn) + 1) / 64.0)))::INTEGER AS bits
    FROM named
    GROUP BY vm, task
),
told AS (
    SELECT f.*, g.guest, g.bits, v.private, v.kind, l.number IS NOT NULL AS looked_up
    FROM named AS f
    JOIN guests AS g ON f.vm IS NOT DISTINCT FROM g.vm AND f.task IS NOT DISTINCT FROM g.task
    LEFT JOIN virtual_machines AS v ON f.vm = v.number
    LEFT JOIN found AS l ON f.number = l.number
)
SELECT
    -- fault | number | Its number, from 1, by start.
    number,
    -- | number | Number of its VM among those that had faults; those that the run names come first.
    guest,
    -- vm | number | The VM, as the recorder numbered it.
    -- Null: the run does not say which it was.
    vm,
    -- task | number | Process (or first thread) of a VM that has no number.
    -- Null: it has one, or the trace has neither process nor thread.
    task,
    -- vcpu | number | The virtual CPU.
    -- Null: the trace does not name it.
    vcpu,
    -- thread | number | The thread.
    -- Null: not known.
    tid,
    -- process | text | Name of the thread.
    -- Null: not known.
    comm::VARCHAR AS comm,
    -- page | number | Guest page frame.
    -- Null: not known, as where the address was not one of guest memory (shadow paging).
    gfn,
    -- guest address | bytes | Guest-physical address of the page.
    -- Null: as for gfn.
    gfn * (SELECT page_size FROM run) AS gpa,
    -- | number | The 2 MiB range of the guest that it begins in.
    -- Null: as for gfn.
    gfn // 512 AS range,
    -- region | number | First page frame of its region.
    -- Null: as for gfn.
    (gfn >> bits) << bits AS region_gfn,
    -- | number | Pages in a region of this VM.
    -- Null: no place of its faults is known.
    1::BIGINT << bits AS region_pages,
    -- memory | text | "private", "shared", "ordinary" or "unknown", by the rules above.
    CASE
        WHEN NOT private THEN 'ordinary'
        WHEN flags & 4096 <> 0 OR looked_up THEN 'private'
        WHEN dur_ns IS NOT NULL OR kind = 'snp' THEN 'shared'
        ELSE 'unknown'
    END AS memory,
    -- start | ns | Its start, CLOCK_BOOTTIME.
    begin_ns,
    -- end | ns | Its end.
    -- Null: only its start was seen.
    CASE WHEN dur_ns IS NOT NULL THEN ts_ns END AS end_ns,
    -- took | ns | Its length.
    -- Null: only its start was seen.
    dur_ns,
    -- pages | number | Pages that were mapped; 0 where it was not resolved.
    -- Null: only its start was seen.
    bytes // (SELECT page_size FROM run) AS pages,
    -- level | number | Order of what was mapped: 0, 9 or 18.
    -- Null: not known.
    "order" AS level,
    -- failed | text | Whether it went to user space with an error.
    -- Null: only its start was seen.
    CASE WHEN dur_ns IS NOT NULL THEN flags & 256 <> 0 END AS failed,
    -- again | text | Whether it was neither resolved nor failed, so that the guest takes it again.
    -- Null: only its start was seen.
    CASE WHEN dur_ns IS NOT NULL THEN flags & 8192 <> 0 END AS retried,
    -- source | text | The site that saw it, as in the rows.
    site::VARCHAR AS source
FROM told;
