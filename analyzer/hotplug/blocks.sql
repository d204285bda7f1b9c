-- SPDX-License-Identifier: Apache-2.0
-- Needs: blocks.
SELECT
    add, block, pfn, nid,
    -- memory | bytes | Bytes of the block.
    -- Null: its range is not known.
    -- Bound: at least, where hot.block was not seen or had no range.
    nullif(bytes, 0) AS bytes,
    onlined_bytes, in_block_bytes,
    -- in one piece | bytes | Its longest range without its struct pages, which lie at its start.
    -- Null: in_block_bytes is, or its range is not known.
    nullif(bytes, 0) - in_block_bytes AS contiguous_bytes,
    start_ns, gap_ns, online_ns, init_ns, zone_ns
FROM blocks WHERE NOT again ORDER BY add NULLS LAST, block, start_ns;
