-- SPDX-License-Identifier: Apache-2.0
-- The phases of the boot, one row for each phase and node, by the best source of it.
--
-- phase_sources has the others, and the rules by which one is the best.  Both ends of a row are
-- from one source.  Phases need not touch or be apart: between two there may be time that no
-- source names, and deferred init runs on all nodes at once.
-- Needs: phase_sources.
CREATE TEMP TABLE phases AS
WITH whole AS (
    SELECT
        greatest(max(start_ns), max(end_ns)) - least(min(start_ns), min(end_ns)) AS length
    FROM phase_sources
    WHERE choice = 1
),
counted AS (
    SELECT phase, nid, count(*) AS sources FROM phase_sources GROUP BY phase, nid
)
SELECT
    -- phase | text | One of the words of traces/phases.py.
    p.phase,
    -- | number | The place of the phase in the order of the boot.
    p.place,
    -- node | number | Node whose struct pages it initialises.
    -- Null: it is of the whole machine.
    p.nid,
    -- start | ns | Its start, CLOCK_BOOTTIME; negative before that clock began.
    -- Null: the source does not tell.
    p.start_ns,
    -- | ns | Its end.
    -- Null: the source does not tell.
    p.end_ns,
    -- length | ns | From start to end.
    -- Null: no source tells both.
    p.length_ns,
    -- share | share | Length over the time from the first edge of a phase to the last.
    -- Null: the length is unknown, or all of the boot has none.
    CASE WHEN w.length > 0 THEN p.length_ns / w.length END AS share,
    -- source | text | What told it: dmesg, ftrace, fpdt, systemd.
    p.source,
    -- +/- | ns | How far off start and end may be.
    -- Null: the source does not tell.
    p.resolution_ns,
    -- | text | The evidence, as the source wrote it.
    p.detail,
    -- | number | How many sources tell of it.
    c.sources
FROM phase_sources AS p
JOIN counted AS c ON c.phase = p.phase AND c.nid IS NOT DISTINCT FROM p.nid
CROSS JOIN whole AS w
WHERE p.choice = 1;
