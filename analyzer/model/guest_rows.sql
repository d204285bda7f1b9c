-- SPDX-License-Identifier: Apache-2.0
-- Rows of virtual machines (gmem.*), and of what was traced inside one of them, such as alloc.
--
-- Start: ts_ns less dur_ns.  End: ts_ns.  Rows that the recorder caused are left out.
--
-- Outside a hole the kernel does not say whose page it gives back (gmem.free).  It is that of
-- the last gmem.get or gmem.prepare of its folio, if that was not given back since; for a page
-- that no guest has touched, that of the one VM whose process freed it.  With neither its VM
-- stays unknown.  Its guest page likewise.
-- Needs: run, virtual_machines.
CREATE TEMP TABLE guest_rows AS
WITH every AS MATERIALIZED (
    SELECT
        event::VARCHAR AS event, ts_ns, dur_ns, pid, tid, comm::VARCHAR AS comm, vm, vcpu, gfn,
        bytes // (SELECT page_size FROM run) AS pages,
        bytes_requested // (SELECT page_size FROM run) AS asked,
        "order" AS level, pfn, flags, parent::VARCHAR AS parent,
        event::VARCHAR = 'gmem.free' AND (vm IS NULL OR gfn IS NULL) AS ownerless
    FROM events
    WHERE (event::VARCHAR LIKE 'gmem.%' OR parent::VARCHAR LIKE 'gmem.%') AND flags & 64 = 0
),
owners AS (
    SELECT pfn - pfn % pages AS pfn, ts_ns, vm, gfn - pfn % pages AS gfn
    FROM every
    WHERE event IN ('gmem.get', 'gmem.prepare') AND pages > 0 AND pfn IS NOT NULL
    UNION ALL
    SELECT pfn, ts_ns, NULL, NULL FROM every WHERE event = 'gmem.free' AND pfn IS NOT NULL
),
processes AS (
    SELECT pid, min(number) AS vm FROM virtual_machines WHERE pid <> 0 GROUP BY pid HAVING count(*) = 1
),
owned AS (
    SELECT * EXCLUDE (ownerless) FROM every WHERE NOT ownerless
    UNION ALL
    SELECT f.* EXCLUDE (ownerless) REPLACE (coalesce(f.vm, o.vm, p.vm) AS vm, coalesce(f.gfn, o.gfn) AS gfn)
    FROM (FROM every WHERE ownerless) AS f
    ASOF LEFT JOIN owners AS o ON f.pfn = o.pfn AND f.ts_ns > o.ts_ns
    LEFT JOIN processes AS p ON f.pid = p.pid
)
SELECT
    -- event | text | The event.
    event,
    -- end | ns | Its end, CLOCK_BOOTTIME.
    ts_ns,
    -- took | ns | Its length.
    -- Null: one of start and end was not seen.
    dur_ns,
    -- pid | number | The process.
    -- Null: not known.
    pid,
    -- tid | number | The thread.
    -- Null: not known.
    tid,
    -- comm | text | Name of the thread.
    -- Null: not known.
    comm,
    -- vm | number | The VM.
    -- Null: not known.
    vm,
    -- vcpu | number | The virtual CPU whose thread it was.
    -- Null: it was none, or is not known.
    vcpu,
    -- page | number | First guest page frame.
    -- Null: not known.
    gfn,
    -- pages | number | What was done, in pages.
    -- Null: not known.
    pages,
    -- asked | number | What was asked for, in pages.
    -- Null: nothing was, or it was not seen.
    asked,
    -- level | number | Order of the pages.
    -- Null: not known.
    level,
    -- pfn | number | First page frame of the host.
    -- Null: not known.
    pfn,
    -- | number | Bits of SCHEMA.md's table of flags.
    flags,
    -- parent | text | The event around it.
    -- Null: none that was traced.
    parent,
    -- | number | The 2 MiB range of the guest that it begins in.
    -- Null: not known.
    gfn // 512 AS range
FROM owned;
