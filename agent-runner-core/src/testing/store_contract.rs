//! The contract of [`Store`] as tests, one for each clause and sub-clause.
//!
//! An implementation proves itself with one line in its tests:
//!
//! ```
//! # use std::sync::Arc;
//! # use agent_runner_core::{store::{InMemoryStore, Store}, testing::store_contract::StoreHarness, time::Clock};
//! #[derive(Debug)]
//! struct InMemory(Arc<InMemoryStore>);
//!
//! #[async_trait::async_trait]
//! impl StoreHarness for InMemory {
//!     const REOPENS: bool = false;
//!
//!     async fn open(clock: Arc<dyn Clock>) -> Self {
//!         Self(Arc::new(InMemoryStore::with_clock(clock)))
//!     }
//!
//!     fn store(&self) -> Arc<dyn Store> {
//!         self.0.clone()
//!     }
//!
//!     async fn reopen(&self) -> Option<Arc<dyn Store>> {
//!         None
//!     }
//! }
//!
//! agent_runner_core::store_contract!(InMemory);
//! # fn main() {}
//! ```
//!
//! Cases named `i1_…` to `i14_…` prove the invariants of the durability design, those named `s6_…` and
//! the like its scenarios.

pub mod approving;
pub mod artifacts;
pub mod claiming;
pub mod creation;
pub mod deletion;
pub mod fencing;
pub(super) mod fixture;
pub mod hint;
pub mod journal;
pub mod listing;
pub mod news;
pub mod payload;
pub mod record;
pub mod reopening;
pub mod rules;
pub mod snapshot;
pub mod spending;
pub mod sweeping;
pub mod worker;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{store::Store, time::Clock};

/// Makes stores for the suite.
#[async_trait]
pub trait StoreHarness: fmt::Debug + Sized + Send + Sync + 'static {
    /// Whether [`StoreHarness::reopen`] gives a store. The cases that need it are skipped where
    /// it is `false`, and fail where this is not true.
    const REOPENS: bool;

    /// Makes an empty store that takes every moment from `clock`, and whatever has to live as long
    /// as it.
    async fn open(clock: Arc<dyn Clock>) -> Self;

    /// The store that [`StoreHarness::open`] made.
    fn store(&self) -> Arc<dyn Store>;

    /// A second handle on the same data with the same clock, as another process would open it;
    /// the first stays open. `None` where data do not outlive the handle.
    async fn reopen(&self) -> Option<Arc<dyn Store>>;
}

/// The longest that a case may take, so that a store that hangs fails its test.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// Runs a case within its time limit.
#[doc(hidden)]
pub async fn run_case(case: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(CASE_LIMIT, Box::pin(case)).await;
    assert!(ended.is_ok(), "the case did not end within {CASE_LIMIT:?}: the store hangs");
}

/// Expands to the whole contract of [`Store`](crate::store::Store) for one
/// [`StoreHarness`](crate::testing::store_contract::StoreHarness), one `#[tokio::test]` per case.
///
/// The crate that calls it needs tokio with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_contract {
    ($harness:ty) => {
        $crate::store_contract! { @cases $harness;
            creation {
                a_creation_writes_the_run_and_its_events,
                every_field_of_a_run_reads_back,
                a_run_may_begin_with_a_past,
                a_past_that_makes_no_sense_is_refused,
                a_known_id_is_refused,
                a_new_run_that_is_neither_queued_nor_over_is_refused,
                a_run_may_come_with_its_end,
                i2_a_run_that_came_with_its_end_accepts_nothing,
                i11_a_claim_never_gives_a_run_that_came_with_its_end,
                a_long_journal_comes_whole_or_not_at_all,
                i13_one_idempotency_key_gives_one_run,
                i13_one_idempotency_key_gives_one_run_to_concurrent_callers,
                an_idempotency_key_counts_within_its_project,
                a_run_may_be_created_for_later,
                a_run_that_does_not_exist_is_not_found,
                a_healthy_store_says_so,
            }
            journal {
                events_are_numbered_from_one_without_gaps,
                i5_events_are_contiguous_under_concurrent_writers,
                i5_every_reader_sees_a_prefix,
                i4_events_never_change,
                i7_status_and_journal_move_together,
                i10_what_is_acknowledged_is_visible_to_the_next_reader,
                i8_epochs_of_events_never_fall,
                payloads_read_back_exactly,
                a_payload_of_one_mebibyte_reads_back_exactly,
            }
            fencing {
                i9_only_the_owner_with_the_current_epoch_writes,
                a_worker_that_let_go_is_fenced,
                i9_a_revoked_owner_is_fenced_at_once,
                i9_an_earlier_owner_is_fenced,
                s7_a_write_and_a_revocation_never_both_win,
                an_owner_learns_that_the_control_state_moved,
                an_answer_carries_the_control_state,
                a_stranger_with_an_old_control_number_is_fenced,
                control_is_a_compare_and_set,
                i2_a_terminal_run_accepts_nothing,
                i2_of_racing_endings_one_wins,
                i6_nothing_follows_the_event_that_ended_a_run,
            }
            approving {
                an_approval_is_listed_until_it_is_decided_and_found_ever_after,
                an_approval_is_decided_once,
                an_approval_that_makes_no_sense_is_refused,
                approvals_are_listed_by_what_is_asked_for,
                what_is_pending_when_a_run_ends_is_withdrawn,
                approvals_go_with_their_run,
            }
            artifacts {
                an_artifact_reads_back,
                versions_count_by_name,
                an_artifact_that_makes_no_sense_is_refused,
                bytes_are_used_while_an_artifact_has_them,
            }
            spending {
                a_wish_is_granted_within_its_limits_and_refused_beyond,
                what_is_reserved_counts_until_it_is_booked,
                concurrent_wishes_never_exceed_a_limit,
                a_reservation_of_the_same_name_is_replaced,
                only_the_owner_reserves,
                a_run_that_ends_books_what_is_still_reserved,
                bookings_stay_when_their_run_is_deleted,
                days_and_accounts_are_added_up_apart,
                what_no_run_spent_is_booked_as_well,
                no_amount_is_too_large,
                absurd_amounts_hold_up_no_later_question_or_wish,
            }
            rules {
                a_patch_changes_what_it_names_and_keeps_the_rest,
                a_park_and_a_pause_are_set_and_cleared,
                a_cancellation_stays,
                i1_the_rank_of_a_status_never_falls,
                a_queued_run_may_end,
                a_run_has_an_end_exactly_when_it_ended,
                i8_epoch_control_and_numbers_only_rise,
                a_step_reads_back_with_the_numbers_of_its_events,
                steps_are_listed_as_they_were_first_written,
                i3_the_rank_of_a_step_never_falls,
                i3_a_succeeded_step_never_changes,
                a_batch_that_contradicts_itself_is_refused,
                a_refused_batch_leaves_no_trace,
                i14_a_signal_id_is_accepted_once,
                i14_of_concurrent_deliveries_one_is_accepted,
            }
            news {
                a_run_begins_with_a_batch_of_another,
                a_run_that_cannot_begin_takes_the_batch_with_it,
                a_refused_batch_begins_no_run_and_tells_nobody,
                news_is_an_event_of_the_run_that_learns_it,
                news_wakes_a_run_that_is_parked_for_it,
                news_wakes_nobody_who_must_not_run,
                a_run_that_ended_or_is_gone_learns_nothing,
                news_of_a_cancellation_counts_once,
                a_run_begins_and_is_canceled_with_one_batch,
                a_payload_of_news_belongs_to_the_run_that_learns_it,
                s52_runs_that_end_and_tell_each_other_both_end_once,
            }
            claiming {
                i8_a_claim_raises_epoch_and_control_by_one,
                the_most_urgent_runs_come_first,
                a_claim_gives_no_more_than_asked,
                i11_a_claim_never_gives_what_must_not_run,
                i11_a_claim_never_gives_an_owned_run,
                s33_sleepers_do_not_hide_what_is_due,
                i11_a_parked_run_comes_at_its_moment,
                a_run_parked_without_a_moment_waits_to_be_woken,
                a_paused_run_comes_after_it_is_resumed,
                the_last_listing_counts,
                racing_workers_never_share_a_run,
                a_claim_and_a_command_never_overwrite_each_other,
            }
            sweeping {
                a_lost_worker_loses_its_runs,
                a_worker_that_beats_keeps_its_runs,
                a_worker_that_never_beat_is_lost,
                what_a_leaving_worker_has_goes_to_the_next_sweep,
                only_the_lost_worker_loses,
                a_revoked_run_that_is_paused_is_not_listed,
                a_revoked_run_that_is_canceled_is_handed_over,
                a_sweep_reports_what_is_overdue,
                a_claimable_run_that_is_not_listed_is_mended,
                a_listed_run_that_cannot_be_claimed_is_mended,
                what_waits_on_purpose_is_not_mended,
                a_sweep_takes_no_more_than_asked,
                racing_sweepers_revoke_a_run_once,
                s6_racing_sweepers_and_claimers_give_a_run_one_owner,
                i12_ready_is_exactly_what_can_be_claimed,
            }
            worker {
                a_worker_is_listed_with_its_lease_and_its_runs,
                a_beat_brings_a_worker_up_to_date,
                a_lease_may_be_endless,
                a_worker_that_is_gone_is_forgotten,
                a_worker_sees_the_control_state_of_its_runs,
                a_lost_worker_sees_that_it_has_nothing,
            }
            deletion {
                only_a_run_that_ended_is_deleted,
                a_run_is_deleted_whole_and_alone,
                a_payload_stays_while_a_run_has_it,
                a_deleted_run_leaves_its_key_and_id_free,
            }
            record {
                a_version_grows_by_one_with_every_write,
                a_write_whose_expectation_does_not_hold_changes_nothing,
                a_version_is_a_compare_and_set,
                a_deletion_tells_whether_there_was_one,
                an_expired_record_is_as_good_as_absent,
                a_write_replaces_the_expiry,
                records_are_listed_by_key,
                collections_have_nothing_to_do_with_each_other,
            }
            payload {
                a_payload_reads_back_byte_by_byte,
                a_payload_may_come_again,
                an_unknown_payload_is_not_found,
                moments_are_kept_to_the_microsecond,
            }
            snapshot {
                the_last_snapshot_is_kept,
                snapshots_of_racing_runs_do_not_mix,
                a_snapshot_that_makes_no_sense_is_refused,
                a_snapshot_goes_with_its_run,
            }
            listing {
                a_list_shows_the_newest_first,
                runs_are_listed_by_status,
                every_condition_of_a_list_must_hold,
                text_is_found_in_goal_and_name,
                pages_of_runs_skip_and_repeat_nothing,
                a_page_of_runs_starts_beyond_any_id,
                events_are_read_in_both_directions,
                events_are_filtered_by_type_and_step,
                journals_do_not_mix,
            }
            hint {
                a_listener_hears_of_new_events,
                a_listener_hears_of_an_end,
                a_listener_hears_that_a_run_became_claimable,
                a_listener_hears_of_a_sweep,
                a_listener_that_sleeps_holds_up_nobody,
            }
            reopening {
                what_was_acknowledged_is_there_after_reopening,
                guards_hold_between_handles,
                i5_writers_behind_two_handles_leave_no_gap,
                workers_behind_two_handles_never_share_a_run,
            }
        }
    };
    (@cases $harness:ty; $($clause:ident { $($case:ident,)* })*) => {
        $(
            mod $clause {
                use super::*;
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                    async fn $case() {
                        use $crate::testing::store_contract as suite;
                        suite::run_case(suite::$clause::$case::<$harness>()).await;
                    }
                )*
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    /// A case that is written and not listed in the macro would never run.
    #[test]
    fn every_case_is_listed_in_the_macro() {
        let this = include_str!("store_contract.rs");
        let sources = [
            ("approving", include_str!("store_contract/approving.rs")),
            ("artifacts", include_str!("store_contract/artifacts.rs")),
            ("claiming", include_str!("store_contract/claiming.rs")),
            ("creation", include_str!("store_contract/creation.rs")),
            ("deletion", include_str!("store_contract/deletion.rs")),
            ("fencing", include_str!("store_contract/fencing.rs")),
            ("hint", include_str!("store_contract/hint.rs")),
            ("journal", include_str!("store_contract/journal.rs")),
            ("listing", include_str!("store_contract/listing.rs")),
            ("news", include_str!("store_contract/news.rs")),
            ("payload", include_str!("store_contract/payload.rs")),
            ("record", include_str!("store_contract/record.rs")),
            ("reopening", include_str!("store_contract/reopening.rs")),
            ("rules", include_str!("store_contract/rules.rs")),
            ("snapshot", include_str!("store_contract/snapshot.rs")),
            ("spending", include_str!("store_contract/spending.rs")),
            ("sweeping", include_str!("store_contract/sweeping.rs")),
            ("worker", include_str!("store_contract/worker.rs")),
        ];
        assert_eq!(this.matches("\npub mod ").count(), sources.len());
        for (module, source) in sources {
            let (_, rest) = this.split_once(&format!(" {module} {{\n")).unwrap();
            let (listed, _) = rest.split_once('}').unwrap();
            let written = source.lines().filter_map(|line| line.strip_prefix("pub async fn "));
            let names: Vec<_> = written.map(|rest| rest.split_once('<').unwrap().0).collect();
            assert!(!names.is_empty());
            for name in &names {
                assert!(listed.contains(&format!(" {name},\n")), "{module}::{name}");
            }
            assert_eq!(listed.matches(",\n").count(), names.len(), "{module}");
        }
    }
}
