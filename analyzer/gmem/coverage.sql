-- SPDX-License-Identifier: Apache-2.0
-- Memory of guests in pages of 2 MiB: how much, for how long, and what ended it (covered).
-- Needs: run, covered.
WITH ended AS (
    SELECT
        vm,
        coalesce(cause, 'still covered') AS cause,
        count(*) AS ranges,
        median(end_ns - ts_ns)::BIGINT AS median_ns
    FROM covered
    GROUP BY ALL
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    vm,
    -- ended by | text | What ended it, or "still covered".
    cause AS ended_by,
    -- 2M ranges | count | Ranges of 2 MiB that it ended for.
    ranges,
    -- memory | bytes | Their memory, each time it was covered.
    ranges * 512 * (SELECT page_size FROM run) AS bytes,
    -- share | share | Of all of the VM's.
    ranges / sum(ranges) OVER (PARTITION BY vm) AS share,
    -- covered for | ns | How long ranges with this end had been covered, the median.
    -- Null: they still are.
    median_ns
FROM ended
ORDER BY vm, ranges DESC, ended_by;
