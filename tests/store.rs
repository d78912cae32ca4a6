//! The store, on both engines: what it keeps it gives back, whole or not at all.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at the first surprise")]

#[path = "store/audit.rs"]
mod audit;
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
#[path = "store/guessing.rs"]
mod guessing;
#[path = "store/keys.rs"]
mod keys;
#[path = "store/listing.rs"]
mod listing;
#[path = "store/reply.rs"]
mod reply;
#[path = "store/rotation.rs"]
mod rotation;
#[path = "store/sqlite_file.rs"]
mod sqlite_file;
#[path = "store/statements/mod.rs"]
mod statements;
#[path = "store/together.rs"]
mod together;
#[path = "store/usage.rs"]
mod usage;

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
    conformance::of_a_users_passwords_as_many_are_kept_as_are_asked_for,
    conformance::a_password_is_marked_once_and_while_it_is_in_force,
    conformance::a_record_is_kept_in_full,
    conformance::a_change_without_its_record_does_not_happen,
    conformance::another_store_sees_everything,
    listing::a_deleted_subject_leaves_nothing_but_records,
    listing::a_deleted_tenant_leaves_nothing_but_records,
    listing::a_tenant_that_is_deleted_takes_nobody_in,
    listing::every_list_is_answered_by_an_index,
    listing::lists_are_filtered_by_what_stands_in_the_rows,
    listing::the_last_administrator_stays,
    listing::what_an_older_program_wrote_is_found_by_name,
    audit::records_are_read_in_order_and_by_filter,
    audit::a_filter_that_fits_little_is_answered_in_bounded_steps,
    audit::no_page_of_records_reads_the_whole_table,
    audit::what_is_written_late_is_of_a_late_time,
    concurrency::of_fifty_changes_on_one_version_one_is_done,
    concurrency::two_that_migrate_at_once_apply_each_step_once,
    concurrency::an_older_program_is_not_disturbed_by_newer_steps,
    cancellation::a_caller_that_goes_away_leaves_all_or_nothing,
    reply::an_answer_is_kept_with_its_change_or_neither_is,
    reply::an_answer_is_kept_once_until_its_time_is_over,
    reply::of_fifty_with_one_request_id_one_is_done,
    reply::answers_whose_time_is_over_are_deleted,
    rotation::versions_move_from_stage_to_stage_and_are_wiped_at_the_end,
    rotation::a_step_from_where_a_version_is_not_undoes_the_whole_change,
    rotation::of_fifty_rotations_at_once_one_is_done,
    rotation::a_version_has_a_look_up_key_of_its_own_or_none,
    rotation::what_an_older_program_wrote_rotates,
    rotation::ends_are_found_when_they_are_near_and_when_they_are_over,
    rotation::of_many_who_see_an_end_one_deals_with_it,
    rotation::what_moved_on_meanwhile_is_left_alone,
    rotation::ends_are_found_by_their_indexes,
    keys::a_rotation_is_one_however_many_begin_it,
    keys::a_data_key_is_followed_once_and_stays,
    keys::what_changed_meanwhile_is_not_sealed_over,
    keys::a_token_moves_once_and_keeps_its_slot,
    keys::replicas_say_what_they_know_and_times_only_grow,
    failure::a_failed_commit_is_an_unknown_outcome_and_leaves_the_store_usable,
    failure::what_is_not_migrated_is_unavailable,
    failure::a_row_that_cannot_be_read_is_named_without_its_content,
    failure::a_closed_store_is_unavailable,
    failure::no_value_reaches_the_log,
    guessing::a_stop_is_seen_by_every_store_and_ends_with_its_record_or_a_new_password,
    guessing::the_last_words_of_who_was_known_hold_nobody_up,
    guessing::of_many_at_once_no_more_are_let_in_than_are_left_before_a_stop,
    guessing::what_is_reserved_is_kept_as_long_as_others_find_room,
    guessing::the_census_of_all_tenants_reads_its_index_alone,
    together::subjects_asked_for_together_come_with_their_own_secrets,
    together::records_of_any_number_are_written_whole,
    together::changes_of_who_may_call_are_counted_and_bookkeeping_is_not,
    usage::uses_add_up_whoever_writes_them_and_change_nothing_else,
    usage::of_many_writers_at_once_each_counts,
    usage::a_batch_of_uses_finds_each_secret_by_its_key,
}
