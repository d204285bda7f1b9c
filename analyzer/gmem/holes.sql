-- SPDX-License-Identifier: Apache-2.0
-- Holes punched into guest_memfd, and what a rule "none below 2 MiB" would have done.
--
-- Of gmem.punch that did not fail.  Alignment is that of the guest frame where the hole begins,
-- which is the file's own where a slot binds it aligned to 2 MiB.
-- Needs: run, guest_rows.
WITH punched AS (
    SELECT
        *,
        CASE WHEN gfn + asked IS NOT NULL
            THEN greatest((gfn + asked) // 512 - (gfn + 511) // 512, 0)
        END AS ranges
    FROM guest_rows
    WHERE event = 'gmem.punch' AND flags & 256 = 0
),
judged AS (
    SELECT
        *,
        CASE
            WHEN gfn % 512 = 0 AND asked % 512 = 0 THEN 'whole'
            WHEN ranges > 0 THEN 'rounded'
            WHEN ranges = 0 THEN 'refused'
        END AS kind,
        CASE WHEN asked > 0 THEN 1::BIGINT << floor(log2(asked))::INTEGER ELSE asked END AS size,
        CASE
            WHEN gfn % 262144 = 0 THEN 1073741824
            WHEN gfn % 512 = 0 THEN 2097152
            WHEN gfn % 16 = 0 THEN 65536
            WHEN gfn IS NOT NULL THEN 4096
        END AS alignment
    FROM punched
)
SELECT
    -- vm | number | The VM.
    -- Null: not known.
    vm,
    -- size | bytes | Length of the hole, rounded down to a power of two.
    -- Null: not known.
    size * any_value((SELECT page_size FROM run)) AS size_bytes,
    -- aligned | bytes | The largest of 4 KiB, 64 KiB, 2 MiB and 1 GiB that divides its start.
    -- Null: not known.
    alignment AS alignment_bytes,
    -- holes | count | Holes of that size and alignment.
    count(*) AS count,
    -- asked | bytes | Memory that they cover.
    -- Null: the length of one is not known.
    CASE WHEN count(*) = count(asked) THEN
        (sum(asked) * any_value((SELECT page_size FROM run)))::BIGINT
    END AS asked_bytes,
    -- freed | bytes | Memory really given back.
    -- Null: that of one is not known.
    CASE WHEN count(*) = count(pages) THEN
        (sum(pages) * any_value((SELECT page_size FROM run)))::BIGINT
    END AS freed_bytes,
    -- whole | count | Holes of whole 2 MiB ranges only.
    -- Null: the place or length of one is not known.
    CASE WHEN count(*) = count(kind) THEN count(*) FILTER (kind = 'whole') END AS whole,
    -- rounded | count | Holes with a whole range in them that reach beyond, which the rule would shorten.
    -- Null: the place or length of one is not known.
    CASE WHEN count(*) = count(kind) THEN count(*) FILTER (kind = 'rounded') END AS rounded,
    -- refused | count | Holes without any whole range, which the rule would refuse.
    -- Null: the place or length of one is not known.
    CASE WHEN count(*) = count(kind) THEN count(*) FILTER (kind = 'refused') END AS refused,
    -- kept | bytes | Memory that the rule would have kept: all that refused holes freed, and of
    -- rounded ones what they freed beyond their whole ranges.
    -- Null: something of one is not known.
    -- Bound: at least, of rounded ones.
    CASE WHEN count(*) = count(kind) AND count(*) = count(pages) THEN
        (sum(CASE kind
            WHEN 'refused' THEN pages
            WHEN 'rounded' THEN greatest(pages - 512 * ranges, 0)
            ELSE 0
        END)
        * any_value((SELECT page_size FROM run)))::BIGINT
    END AS kept_bytes
FROM judged
GROUP BY vm, size, alignment
ORDER BY vm, size, alignment;
