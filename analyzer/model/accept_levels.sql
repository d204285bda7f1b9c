-- SPDX-License-Identifier: Apache-2.0
-- The events that see an acceptance, outermost first, and what each is seen to hold in this run.
CREATE TEMP TABLE accept_levels AS
WITH levels (level, event) AS (
    VALUES (1, 'accept.burst'), (2, 'accept.block'), (3, 'accept.call'), (4, 'accept.arch')
),
seen AS (
    SELECT DISTINCT level FROM levels JOIN events AS e ON e.event::VARCHAR = levels.event
    WHERE e.flags & (32 | 256) = 0
)
SELECT
    -- | number | 1 burst, 2 block, 3 call, 4 the platform's accept.
    level,
    -- event | text | The event.
    event,
    -- | number | The next level inside of which the run has rows.
    -- Null: none.
    (SELECT min(s.level) FROM seen AS s WHERE s.level > levels.level) AS inner_level
FROM levels;
