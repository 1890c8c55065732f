//! Seeds that once found a defect. They are lived through whatever `AGENT_RUNNER_SIM_SEEDS` says.
//!
//! A seed that fails comes here with the fix, and with what it found. A change of the simulation changes
//! the history of every seed, so a rule that only one seed ever needed is better kept as a test of its own.

/// A seed and what it found.
pub(super) const REGRESSIONS: [(u64, &str); 2] = [
    (6, "a defect of the engine's first version, which is not on record"),
    (49, "a defect of the engine's first version, which is not on record"),
];
