//! What must hold, whatever happened: one rule a file. The tests of the engine check the same rules of a
//! journal.

pub(crate) mod a_parent_learns_of_each_end_once;
pub(crate) mod a_run_ends_once;
pub(crate) mod an_ended_run_travels;
pub(crate) mod decisions_repeat;
pub(crate) mod effects_follow_their_policy;
pub(crate) mod epochs_never_fall;
pub(crate) mod no_signal_is_forgotten;
pub(crate) mod nobody_outlives_its_parent;
pub(crate) mod numbers_have_no_gaps;
pub(crate) mod rows_are_the_fold;
pub(crate) mod what_was_accepted_counts;
