//! What must hold when things go wrong: races, calls that are given up, full disks and queues, lost databases, stops in
//! the middle, and rows that somebody altered.

mod cancellation;
mod cancellation_all;
pub(crate) mod database;
mod known;
mod outage;
mod overload;
mod races;
mod records;
mod repeat;
mod repeat_all;
mod shutdown;
mod start;
mod tampering;
mod validate;
pub(crate) mod world;

macro_rules! on_both_engines {
    ($($module:ident :: $case:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$module::$case(crate::common::rekey::Rekey::start().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(rekey) = crate::common::rekey::Rekey::start_on_postgres().await {
                    super::$module::$case(rekey).await;
                }
            })*
        }
    };
}

on_both_engines! {
    cancellation::calls_that_are_given_up_are_done_whole_or_not_at_all,
    cancellation_all::every_mutation_that_is_given_up_is_done_once_when_it_is_asked_for_again,
    known::a_revoked_token_is_refused_at_once,
    known::another_process_notices_a_revocation_within_a_second,
    known::what_others_change_is_noticed_within_a_second,
    known::what_is_in_use_is_read_again_behind_an_answer,
    races::of_fifty_resets_with_one_etag_one_is_done,
    races::fifty_resets_without_an_etag_are_done_or_aborted,
    races::an_integration_is_reset_as_one_act,
    repeat::of_fifty_at_once_one_is_done_and_all_get_its_answer,
    repeat::an_id_is_for_one_request_of_one_caller,
    repeat::an_answer_is_given_again_after_a_restart_until_its_time_is_over,
    repeat::what_was_given_up_is_done_once_when_it_is_asked_for_again,
    repeat::what_changed_by_another_meanwhile_is_decided_anew,
    records::without_its_record_nothing_is_changed_or_shown,
    records::every_act_leaves_one_record_and_no_secret,
    start::a_keyring_that_does_not_fit_is_refused_by_name,
    start::an_installation_is_made_once,
    start::what_was_made_before_a_stop_is_there_after,
    start::a_verifier_of_other_parameters_is_renewed_by_the_next_right_password,
}
