//! What hashes of other systems may cost.

use std::fs;

use rekey::{crypto::ForeignBounds, proto::DuplicatePolicy};
use tonic::Code;

use crate::{
    BCRYPT, PASSWORD, census,
    common::rekey::{Rekey, reason},
    counts, import, options, user, verifies, with_tenant,
};

/// Peak and present memory of this process, in KiB.
fn memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    (kib("VmHWM:"), kib("VmRSS:"))
}

async fn with_bounds(rekey: Rekey, foreign: ForeignBounds) -> Rekey {
    let mut stopped = rekey.pause().await;
    stopped.options.hasher.foreign = foreign;
    stopped.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_hash_that_asks_for_too_much_is_a_recorded_error_and_costs_nothing() {
    let rekey =
        with_bounds(with_tenant().await, ForeignBounds { memory_kib: 16 << 20, ..ForeignBounds::DEFAULT }).await;
    // Argon2 over 8 GiB: nobody made it, but nobody can tell.
    let large = "$argon2id$v=19$m=8388608,t=1,p=1$c2FsdHNhbHRzYWx0$vv5gD2TCtuaFStwnZ2hDd1ka6BBBAil7Rx/QcrQzZPg";
    let users = vec![user("eve", large), user("ada", BCRYPT)];
    let answers = import(&rekey.admin(), options(DuplicatePolicy::Skip), vec![users]).await.unwrap();
    assert_eq!(counts(&answers[0]), (2, 0, 0, vec![]), "as long as it is allowed");

    let rekey = with_bounds(rekey, ForeignBounds::DEFAULT).await;
    let clients = rekey.admin();
    assert_eq!(census(&clients).await.len(), 2, "it is still counted");
    let (_, before) = memory();
    for _ in 0..20 {
        let request = rekey::proto::VerifyPasswordRequest {
            source: String::new(),
            tenant_id: "acme".to_owned(),
            subject: Some(rekey::proto::verify_password_request::Subject::UserId("eve".to_owned())),
            password: PASSWORD.to_owned(),
        };
        let failed = clients.clone().users.verify_password(request).await.unwrap_err();
        assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Internal, "INTERNAL"));
        assert!(!failed.message().contains("8388608") && !failed.message().contains("argon2"), "{failed:?}");
    }
    let (peak, _) = memory();
    assert!(peak < before + (1 << 20), "from {before} to {peak} KiB: that is no 8 GiB");
    assert!(verifies(&clients, "ada", PASSWORD).await, "nobody else feels it");

    let url = rekey.options.store.url.clone();
    let _directory = rekey.stop().await;
    let database = crate::common::sql::connect(&url).await;
    let count = sea_orm::Statement::from_string(
        sea_orm::DbBackend::Sqlite,
        "SELECT count(*) AS n FROM audit WHERE target_id = 'eve' AND detail LIKE 'the stored hash is unreadable%'",
    );
    let row = sea_orm::ConnectionTrait::query_one_raw(&database, count).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i64>("", "n").unwrap(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_broke_off_is_done_again_and_takes_over_the_rest() {
    let rekey = with_tenant().await;
    let clients = rekey.admin();
    let users = || (0..250).map(|number| user(&format!("u{number}"), BCRYPT)).collect::<Vec<_>>();
    let batches = || users().chunks(50).map(<[_]>::to_vec).collect::<Vec<_>>();
    // The client goes away after two answers; how many batches were written then, nobody knows.
    let mut broken = import_and_leave(&clients, batches(), 2).await;
    assert_eq!(broken.len(), 2);
    broken.retain(|answer| answer.created == 50);
    assert_eq!(broken.len(), 2);
    let again = import(&clients, options(DuplicatePolicy::Skip), batches()).await.unwrap();
    let (created, skipped) = again.iter().fold((0, 0), |sum, answer| (sum.0 + answer.created, sum.1 + answer.skipped));
    assert!(created + skipped == 250 && (100..250).contains(&skipped), "{created} and {skipped}");
    assert!(again.iter().all(|answer| answer.failures.is_empty()));
    assert_eq!(census(&clients).await, [("bcrypt cost=4".to_owned(), 250)]);
    for id in ["u0", "u101", "u249"] {
        assert!(verifies(&clients, id, PASSWORD).await, "{id}");
    }
    let nothing = import(&clients, options(DuplicatePolicy::Skip), batches()).await.unwrap();
    assert!(nothing.iter().all(|answer| counts(answer) == (0, 0, 50, vec![])));
}

/// One import whose client goes away after so many answers, with more to send.
async fn import_and_leave(
    clients: &crate::common::rekey::Clients,
    batches: Vec<Vec<rekey::proto::ImportUser>>,
    most: usize,
) -> Vec<rekey::proto::ImportUsersResponse> {
    use rekey::proto::{ImportBatch, ImportUsersRequest, import_users_request::Content};
    let (messages, outgoing) = tokio::sync::mpsc::channel(1);
    let message = |content| ImportUsersRequest { content: Some(content) };
    let first = message(Content::Options(options(DuplicatePolicy::Skip)));
    let sender = tokio::spawn(async move {
        let batches = batches.into_iter().take(4).map(|users| message(Content::Batch(ImportBatch { users })));
        for next in std::iter::once(first).chain(batches) {
            if messages.send(next).await.is_err() {
                return;
            }
        }
        // The stream has no end of its own.
        messages.closed().await;
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut answers = clients.clone().users.import_users(stream).await.unwrap().into_inner();
    let mut all = Vec::new();
    while all.len() < most {
        all.push(answers.message().await.unwrap().unwrap());
    }
    drop(answers);
    sender.abort();
    all
}
