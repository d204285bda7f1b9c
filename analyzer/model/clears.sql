-- SPDX-License-Identifier: Apache-2.0
-- What clearing memory came to, one row for each way of it (zero.*), order and node.
--
-- Unit: a clear, as its site sees it.  Start and end: of each clear, interrupts and preemption
-- included.  The recorder's own and failed attempts are left out.  Time that was sampled for
-- a group as a whole, without a number, stands for its clears without a time.  A group that
-- no sample hit has an unknown time.  Where the run is short of samples, times that rest on
-- them are at least so much.  The flags: 4 ESTIMATED, 64 TRACER, 128 INFERRED, 256 FAILED.
-- Needs: sampled.
CREATE TEMP TABLE clears AS
WITH chosen AS (
    SELECT
        event::VARCHAR AS event, "order", nid, count, bytes, total_ns,
        flags & 4 > 0 AS estimated,
        flags & 128 > 0 AS inferred,
        coalesce(sum(total_ns) FILTER (flags & 4 > 0) OVER (PARTITION BY event, "order", nid), 0) AS by_samples
    FROM events
    WHERE event::VARCHAR LIKE 'zero.%' AND flags & 320 = 0
),
timed AS (
    SELECT
        c.*,
        total_ns IS NOT NULL AND NOT (estimated AND by_samples = 0 AND s.period_ns IS NOT NULL) AS timed,
        timed AND count IS NULL AND bytes IS NULL AS whole,
        timed AND bytes IS NOT NULL OR whole AS rated,
        s.period_ns, s.short, s.loose
    FROM chosen AS c CROSS JOIN sampled AS s
),
grouped AS (
    SELECT
        event, "order", nid, period_ns, short, loose,
        sum(count)::BIGINT AS count,
        coalesce(sum(count) FILTER (inferred), 0)::BIGINT AS inferred,
        sum(bytes)::BIGINT AS bytes,
        sum(total_ns) FILTER (timed)::BIGINT AS total_ns,
        bool_or(timed AND estimated) AS about,
        CASE WHEN bool_or(whole) THEN 0 ELSE coalesce(sum(count) FILTER (NOT timed), 0) END::BIGINT AS untimed,
        coalesce(sum(total_ns) FILTER (rated), 0)::BIGINT AS rate_ns,
        coalesce(sum(total_ns) FILTER (rated AND estimated), 0)::BIGINT AS rate_by_samples,
        (
            coalesce(sum(bytes) FILTER (timed), 0)
            + CASE WHEN bool_or(whole) THEN coalesce(sum(bytes) FILTER (NOT timed), 0) ELSE 0 END
        )::BIGINT AS rate_bytes
    FROM timed
    GROUP BY event, "order", nid, period_ns, short, loose
),
judged AS (
    SELECT
        *,
        rate_bytes > 0 AND total_ns IS NOT NULL AND NOT (about AND rate_ns = 0)
            AND sqrt(rate_by_samples::DOUBLE * coalesce(period_ns, 0)) <= loose * rate_ns AS known
    FROM grouped
)
SELECT
    -- event | text | The way of clearing.
    event,
    -- order | number | Order of what was cleared.
    -- Null: its site does not tell.
    j.order,
    -- node | number | Node of the memory.
    -- Null: its site does not tell.
    nid,
    -- count | count | Number of clears.
    -- Null: only their time was seen.
    count,
    -- | count | Of these, those that follow from the gfp flags of allocations.
    inferred,
    -- memory | bytes | What they cleared, each clear counted.
    -- Null: only their time was seen.
    bytes,
    -- total | ns | Their time.
    -- Null: no time was seen, or no sample hit it.
    -- Bound: at least, where total_is says so.
    total_ns,
    -- | text | What the time is: exact, estimate, or at least.
    -- Null: the time is.
    CASE
        WHEN total_ns IS NULL THEN NULL
        WHEN untimed > 0 OR (about AND short) THEN 'at least'
        WHEN about THEN 'estimate'
        ELSE 'exact'
    END AS total_is,
    -- | count | Number of clears whose time is neither measured nor estimated.
    untimed,
    -- ns/4K | rate | Time for each 4096 bytes, over those of which both are known.
    -- Null: nothing has both, or its standard error is more than a half.
    -- Bound: at least, where the run is short of samples and the time rests on them.
    CASE WHEN known THEN rate_ns * 4096.0 / rate_bytes END::DOUBLE AS ns_per_4kib,
    -- GiB/s | rate | 2**30 bytes for each second of clearing.
    -- Null: where ns_per_4kib is, or is a bound.
    CASE
        WHEN known AND rate_ns > 0 AND NOT (about AND short) THEN rate_bytes / 1073741824 / (rate_ns / 1e9)
    END::DOUBLE AS gib_per_s
FROM judged AS j;
