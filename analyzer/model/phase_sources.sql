-- SPDX-License-Identifier: Apache-2.0
-- What each source told of each phase of the boot, best source first.
--
-- A phase of one node (deferred) is told for each node by itself.  Of several sources of a
-- phase, the best is the first by these rules:
-- 1. One that tells both ends goes before one that tells only one: it alone has a length.
-- 2. Then the one whose ends are least uncertain; where that is unknown, after all others.
-- 3. Then the one that reaches furthest, since a source has a phase from its first to its
--    last sign of it; then by name.
-- Needs: told_phases.
CREATE TEMP TABLE phase_sources AS
WITH told AS (
    SELECT
        *,
        CASE WHEN end_ns >= start_ns THEN end_ns - start_ns END AS length
    FROM told_phases
)
SELECT
    -- phase | text | One of the words of traces/phases.py.
    phase,
    -- | number | The place of the phase in the order of the boot.
    place,
    -- node | number | Node whose struct pages it initialises.
    -- Null: it is of the whole machine.
    nid,
    -- start | ns | Its start, CLOCK_BOOTTIME; negative before that clock began.
    -- Null: the source does not tell.
    start_ns,
    -- | ns | Its end.
    -- Null: the source does not tell.
    end_ns,
    -- length | ns | From start to end.
    -- Null: the source tells only one of them, or an end before the start.
    length AS length_ns,
    -- source | text | What told it: dmesg, ftrace, fpdt, systemd.
    source,
    -- +/- | ns | How far off start and end may be.
    -- Null: the source does not tell.
    resolution_ns,
    -- | text | The evidence, as the source wrote it.
    detail,
    -- | number | Its place among the sources of this phase; 1 is the best.
    row_number() OVER (
        PARTITION BY phase, nid
        ORDER BY length IS NULL, resolution_ns NULLS LAST, length DESC NULLS LAST, source, number
    )::INTEGER AS choice
FROM told;
