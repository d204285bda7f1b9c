-- SPDX-License-Identifier: Apache-2.0
-- Preparations (gmem.prepare) of memory that had been prepared in this run (life), by VM.
--
-- A fault after a conversion that only looks the page up again is no preparation.  Which of the
-- two a preparation was is unknown where gmem.free has no site.
-- Needs: run, life, watched.
WITH calls AS (
    SELECT
        vm, call,
        any_value(dur_ns) AS dur_ns,
        min(gfn) AS gfn,
        bool_or(held) AS held,
        bool_or(earlier) AS earlier,
        coalesce(sum(pages) FILTER (earlier), 0) AS pages
    FROM life
    WHERE event = 'gmem.prepare'
    GROUP BY vm, call
),
sums AS (
    SELECT
        vm,
        count(*) AS preparations,
        count(DISTINCT gfn) AS distinct_gfns,
        count(*) FILTER (earlier AND NOT held) AS after_free,
        count(*) FILTER (held) AS redundant,
        sum(pages)::BIGINT AS pages,
        CASE WHEN count(*) FILTER (earlier AND dur_ns IS NULL) = 0
            THEN coalesce(sum(dur_ns) FILTER (earlier), 0)::BIGINT
        END AS total_ns
    FROM calls
    GROUP BY vm
)
SELECT
    -- vm | number | The VM.
    s.vm,
    -- prepared | count | Preparations, all.
    s.preparations,
    -- guest frames | count | Guest frames at which one began, of whatever size.
    s.distinct_gfns,
    -- after a hole | count | Those of memory that had been prepared, and all been given back since.
    -- Null: preparations or gmem.free have no site.
    CASE WHEN k.known THEN s.after_free END AS after_free,
    -- without | count | Those of memory some of which had not been given back: nothing was gained there.
    -- Null: preparations or gmem.free have no site.
    CASE WHEN k.known THEN s.redundant END AS redundant,
    -- memory | bytes | The memory that had been prepared.
    s.pages * k.page_size AS bytes,
    -- time | ns | Time of the calls that prepared it again.
    -- Null: that of one is not known.
    s.total_ns
FROM sums AS s
CROSS JOIN (
    SELECT
        page_size,
        'gmem.free' IN (FROM watched)
        AND ('gmem.prepare' IN (FROM watched) OR 'gmem.assign' IN (FROM watched)) AS known
    FROM run
) AS k
ORDER BY s.vm;
