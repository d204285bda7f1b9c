-- SPDX-License-Identifier: Apache-2.0
-- Threads whose faults and splits are of a VM that the run does not name, and which VM each ran.
--
-- A saved trace has the process of a thread or not.  One process is one VM.  Without processes
-- the threads are taken in the order of their numbers, in which a VM's vCPUs are created: a
-- thread whose vCPU has no higher number than the one before is of another VM.  Where no vCPU is
-- named either, all threads are one VM, and a pause of theirs is one of each of them.
CREATE TEMP TABLE guest_tasks AS
WITH threads AS (
    SELECT pid, tid, min(vcpu) AS vcpu
    FROM events
    WHERE event::VARCHAR IN ('gmem.fault', 'gmem.split') AND vm IS NULL AND flags & 64 = 0
    GROUP BY ALL
),
marked AS (
    SELECT *, coalesce(vcpu <= lag(vcpu) OVER (PARTITION BY pid ORDER BY tid), false) AS apart FROM threads
),
numbered AS (
    SELECT *, count_if(apart) OVER (PARTITION BY pid ORDER BY tid) AS number FROM marked
)
SELECT
    -- | number | Process of the thread.
    -- Null: the trace has none.
    pid,
    -- | number | The thread.
    -- Null: the trace has none.
    tid,
    -- task | number | What the VM is called by: its process, else the first of its threads.
    -- Null: neither is known.
    coalesce(pid, min(tid) OVER (PARTITION BY pid, number)) AS task
FROM numbered;
