-- SPDX-License-Identifier: Apache-2.0
-- Needs: hot_adds, run.
SELECT
    add,
    -- at | ns | Its start, from the run's.
    begin_ns - started_ns AS at_ns,
    origin, nid, pfn, end_pfn, bytes, blocks, range_online_bytes, onlined_bytes, request_ns, total_ns,
    accepts, accept_bytes, accept_bytes_are, again, result, removed_bytes, comm, tid
FROM hot_adds, run ORDER BY add;
