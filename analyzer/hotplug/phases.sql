-- SPDX-License-Identifier: Apache-2.0
-- Needs: hot_phases.
SELECT add, phase, what, self_ns, share, at_least FROM hot_phases ORDER BY add, place;
