-- SPDX-License-Identifier: Apache-2.0
-- What the kernel's counters said, one row for each snapshot, node and counter, by time.
--
-- Snapshots are numbered from 1 by when their reading began, whatever their order in the file
-- (a collected boot lists its own before the recorder's).  Of two that began at once the one
-- that the file lists first is first.  A counter that a kernel does not have has no row.
-- Needs: readings, run.
CREATE TEMP TABLE counters AS
SELECT
    -- snapshot | number | The snapshot, from 1 by time.
    dense_rank() OVER (ORDER BY at_ns, place)::INTEGER AS snapshot,
    -- label | text | What it was taken for: before_load, after_load, start, change, end; of a boot
    -- entry, early, boot.
    label,
    -- at | ns | When its first counter was read, CLOCK_BOOTTIME.
    at_ns,
    -- read | ns | When its last counter had been read.
    -- Bound: at least, where the file does not say how long reading took.
    at_ns + coalesce(took_ns, 0) AS read_ns,
    -- node | number | The node whose counter it is.
    -- Null: the machine's (/proc/vmstat).
    nid,
    -- counter | text | The kernel's name of it.
    counter,
    -- value | number | As the kernel prints it: pages or occurrences of the machine; of a node
    -- kB, or huge pages for HugePages_*.
    value,
    -- memory | bytes | The same in bytes.
    -- Null: the counter counts no memory.
    CASE
        WHEN nid IS NULL AND (counter LIKE 'nr\_%' ESCAPE '\' OR counter LIKE 'pgalloc\_%' ESCAPE '\')
            THEN value * page_size
        WHEN nid IS NOT NULL AND counter NOT LIKE 'HugePages\_%' ESCAPE '\' THEN value * 1024
    END AS bytes
FROM readings, run
ORDER BY snapshot, nid NULLS FIRST, counter;
