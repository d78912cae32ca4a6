//! The store, on both engines: what it keeps it gives back, whole or not at all.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at the first surprise")]

#[path = "store/cancellation.rs"]
mod cancellation;
mod common;
#[path = "store/concurrency.rs"]
mod concurrency;
#[path = "store/conformance.rs"]
mod conformance;
#[path = "store/failure.rs"]
mod failure;
#[path = "store/fixture.rs"]
mod fixture;
#[path = "store/sqlite_file.rs"]
mod sqlite_file;
#[path = "store/together.rs"]
mod together;

/// Runs each case on SQLite and on PostgreSQL, with a database of its own.
macro_rules! on_both_engines {
    ($($module:ident :: $case:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::$module::$case(crate::fixture::Database::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                if let Some(database) = crate::fixture::Database::postgres().await {
                    crate::$module::$case(database).await;
                }
            })*
        }
    };
}

on_both_engines! {
    conformance::a_tenant_comes_back_as_it_was_put_in,
    conformance::a_tenant_is_found_by_id_alias_and_as_ones_own,
    conformance::tenants_are_listed_in_the_order_of_bytes,
    conformance::tenants_are_found_by_whose_tokens_they_believe,
    conformance::names_of_tenants_are_taken_once,
    conformance::data_keys_come_back_within_their_tenant_only,
    conformance::a_subject_comes_back_with_its_secrets_within_its_tenant_only,
    conformance::names_of_subjects_are_taken_once_for_a_tenant_and_kind,
    conformance::logins_are_told_apart_by_case,
    conformance::a_change_replaces_and_wipes_secrets_and_leaves_its_record,
    conformance::a_change_needs_the_version_it_was_decided_on,
    conformance::a_credential_is_found_with_its_caller_and_stays_taken_when_revoked,
    conformance::a_rehash_gives_way_to_any_change,
    conformance::a_record_is_kept_in_full,
    conformance::a_change_without_its_record_does_not_happen,
    conformance::another_store_sees_everything,
    concurrency::of_fifty_changes_on_one_version_one_is_done,
    concurrency::two_that_migrate_at_once_apply_each_step_once,
    concurrency::an_older_program_is_not_disturbed_by_newer_steps,
    cancellation::a_caller_that_goes_away_leaves_all_or_nothing,
    failure::a_failed_commit_is_an_unknown_outcome_and_leaves_the_store_usable,
    failure::what_is_not_migrated_is_unavailable,
    failure::a_row_that_cannot_be_read_is_named_without_its_content,
    failure::a_closed_store_is_unavailable,
    failure::no_value_reaches_the_log,
    together::subjects_asked_for_together_come_with_their_own_secrets,
    together::records_of_any_number_are_written_whole,
    together::changes_of_who_may_call_are_counted_and_bookkeeping_is_not,
}
