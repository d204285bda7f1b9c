-- SPDX-License-Identifier: Apache-2.0
-- The virtual machines of a run: what each is, and what happened to its memory.
--
-- One row for each VM, those without any event included, and one without VM for pages that
-- nobody is known to own.  Faults and splits of a VM that the run does not name are in a row
-- for each task (guest_tasks).  What an event without a site would tell is unknown.
-- Needs: run, virtual_machines, sited, guest_tasks, faults, guest_rows.
WITH named AS (
    SELECT g.*, t.task
    FROM guest_rows AS g
    LEFT JOIN guest_tasks AS t
        ON g.vm IS NULL AND g.event = 'gmem.split'
        AND g.pid IS NOT DISTINCT FROM t.pid AND g.tid IS NOT DISTINCT FROM t.tid
    WHERE g.event LIKE 'gmem.%' AND g.event <> 'gmem.fault'
),
others AS (
    SELECT
        vm,
        task,
        min_by(pid, ts_ns) AS pid,
        min_by(comm, ts_ns) AS comm,
        min(ts_ns) AS first_ns,
        count(*) FILTER (event = 'gmem.get') AS lookups,
        count(*) FILTER (event = 'gmem.prepare' AND flags & 256 = 0) AS preparations,
        sum(pages) FILTER (event = 'gmem.prepare' AND flags & 256 = 0) AS prepared,
        sum(pages) FILTER (event = 'gmem.populate') AS populated,
        sum(pages) FILTER (event = 'gmem.free') AS freed,
        count(*) FILTER (event = 'gmem.convert' AND flags & 4096 <> 0 AND flags & 16640 = 0) AS to_private,
        count(*) FILTER (event = 'gmem.convert' AND flags & 4096 = 0 AND flags & 16640 = 0) AS to_shared,
        count(*) FILTER (event = 'gmem.convert' AND flags & 16384 <> 0) AS no_op,
        count(*) FILTER (event = 'gmem.convert' AND pages IS NULL AND flags & 256 = 0) AS untold,
        count(*) FILTER (event = 'gmem.punch' AND flags & 256 = 0) AS holes
    FROM named
    GROUP BY vm, task
),
faulted AS (
    SELECT
        vm,
        task,
        min_by(comm, begin_ns) AS comm,
        min(begin_ns) AS first_ns,
        count(*) AS faults,
        count(*) FILTER (memory = 'private') AS private,
        count(*) FILTER (memory = 'shared') AS shared,
        count(*) FILTER (memory = 'ordinary') AS ordinary,
        count(*) FILTER (memory = 'unknown') AS unknown,
        count(*) FILTER (gfn IS NULL) AS unplaced,
        count(failed) AS ended,
        count(*) FILTER (failed) AS failed,
        count(*) FILTER (retried) AS retried
    FROM faults
    GROUP BY vm, task
),
keys AS (
    SELECT vm, task FROM others
    UNION
    SELECT vm, task FROM faulted
    UNION
    SELECT number, NULL FROM virtual_machines
)
SELECT
    -- vm | number | The VM, as the recorder numbered it.
    -- Null: pages that nobody is known to own, and a VM that the run does not name.
    k.vm,
    -- kind | text | KVM's type: default, sw-protected, sev, sev-es, snp, tdx, or its number.
    -- Null: not known.
    v.kind,
    -- | text | Whether it can have private memory.
    -- Null: not known.
    v.private,
    -- | number | The process that made it.
    -- Null: not known.
    CASE
        WHEN k.vm IS NOT NULL THEN v.pid
        ELSE (SELECT t.pid FROM guest_tasks AS t WHERE t.pid = k.task LIMIT 1)
    END AS pid,
    -- task | number, if any | Process (or first thread) of a VM that has no number.
    -- Null: it has one, or the run has neither process nor thread.
    k.task,
    -- process | text | Name of its process.
    -- Null: not known.
    CASE
        WHEN v.number IS NOT NULL THEN v.comm
        WHEN k.vm IS NULL AND k.task IS NULL AND f.faults IS NULL THEN NULL
        WHEN coalesce(f.first_ns <= o.first_ns, o.first_ns IS NULL) THEN f.comm
        ELSE o.comm
    END AS comm,
    -- faults | count | Page faults, those that failed or are taken again included.
    -- Null: they have no site.
    CASE WHEN 'gmem.fault' IN (FROM sited) THEN coalesce(f.faults, 0) END AS faults,
    -- private | count, mark > where unknown_faults | Those of private memory.
    -- Null: none is known to be, and of some it is not known.
    CASE
        WHEN 'gmem.fault' NOT IN (FROM sited) THEN NULL
        WHEN f.private > 0 OR coalesce(f.unknown, 0) = 0 THEN coalesce(f.private, 0)
    END AS private_faults,
    -- shared | count, mark > where unknown_faults | Those of other memory, of a VM that can have
    -- private memory.
    -- Null: none is known to be, and of some it is not known.
    CASE
        WHEN 'gmem.fault' NOT IN (FROM sited) THEN NULL
        WHEN f.shared > 0 OR coalesce(f.unknown, 0) = 0 THEN coalesce(f.shared, 0)
    END AS shared_faults,
    -- ordinary | count, if any | Those of a VM that cannot have private memory.
    -- Null: they have no site.
    CASE WHEN 'gmem.fault' IN (FROM sited) THEN coalesce(f.ordinary, 0) END AS ordinary_faults,
    -- untold | count, if any | Those of which it is not known what memory they were of.
    -- Null: they have no site.
    CASE WHEN 'gmem.fault' IN (FROM sited) THEN coalesce(f.unknown, 0) END AS unknown_faults,
    -- | count | Those whose address was not one of guest memory, or not told.
    -- Null: they have no site.
    CASE WHEN 'gmem.fault' IN (FROM sited) THEN coalesce(f.unplaced, 0) END AS unplaced_faults,
    -- failed | count | Faults that went to user space with an error.
    -- Null: the end of some was not seen.
    CASE
        WHEN 'gmem.fault' IN (FROM sited) AND coalesce(f.ended = f.faults, true) THEN coalesce(f.failed, 0)
    END AS failed,
    -- again | count | Faults that were neither resolved nor failed.
    -- Null: the end of some was not seen.
    CASE
        WHEN 'gmem.fault' IN (FROM sited) AND coalesce(f.ended = f.faults, true) THEN coalesce(f.retried, 0)
    END AS retried,
    -- get_pfn | count | Look-ups in the guest_memfd.
    -- Null: they have no site.
    CASE WHEN 'gmem.get' IN (FROM sited) THEN coalesce(o.lookups, 0) END AS lookups,
    -- | count | Calls that made memory private, and did not fail.
    -- Null: they have no site.
    CASE WHEN 'gmem.prepare' IN (FROM sited) THEN coalesce(o.preparations, 0) END AS preparations,
    -- prepared | bytes, block 1 | Memory that they made private, each time it was.
    -- Null: they have no site.
    CASE WHEN 'gmem.prepare' IN (FROM sited) THEN
        (coalesce(o.prepared, 0) * (SELECT page_size FROM run))::BIGINT
    END AS prepared_bytes,
    -- populated | bytes, block 1 | Initial contents, likewise private.
    -- Null: they have no site.
    CASE WHEN 'gmem.populate' IN (FROM sited) THEN
        (coalesce(o.populated, 0) * (SELECT page_size FROM run))::BIGINT
    END AS populated_bytes,
    -- freed | bytes, block 1 | Memory given back.
    -- Null: that has no site.
    CASE WHEN 'gmem.free' IN (FROM sited) THEN
        (coalesce(o.freed, 0) * (SELECT page_size FROM run))::BIGINT
    END AS freed_bytes,
    -- ->private | count, block 1 | Conversions to private that changed something; where that
    -- cannot be told, all.
    -- Null: they have no site.
    CASE WHEN 'gmem.convert' IN (FROM sited) THEN coalesce(o.to_private, 0) END AS to_private,
    -- ->shared | count, block 1 | Conversions to shared, likewise.
    -- Null: they have no site.
    CASE WHEN 'gmem.convert' IN (FROM sited) THEN coalesce(o.to_shared, 0) END AS to_shared,
    -- no-op | count, block 1 | Conversions that changed nothing.
    -- Null: they have no site, or it cannot be told.
    CASE
        WHEN 'gmem.convert' IN (FROM sited) AND coalesce(o.untold, 0) = 0 THEN coalesce(o.no_op, 0)
    END AS no_op,
    -- holes | count, block 1 | Holes that did not fail.
    -- Null: they have no site.
    CASE WHEN 'gmem.punch' IN (FROM sited) THEN coalesce(o.holes, 0) END AS holes
FROM keys AS k
LEFT JOIN others AS o ON k.vm IS NOT DISTINCT FROM o.vm AND k.task IS NOT DISTINCT FROM o.task
LEFT JOIN faulted AS f ON k.vm IS NOT DISTINCT FROM f.vm AND k.task IS NOT DISTINCT FROM f.task
LEFT JOIN virtual_machines AS v ON k.vm = v.number
ORDER BY k.vm NULLS LAST, k.task NULLS FIRST;
