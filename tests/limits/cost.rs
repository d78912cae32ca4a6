//! What an attempt costs, however it ends.

use rekey::domain::SubjectState;

use crate::site::{RIGHT, Site, WRONG};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_wrong_disabled_locked_and_soft_locked_cost_one_hash_each() {
    let (site, replica) = Site::sqlite().await;
    replica.create_user("out", SubjectState::Disabled).await;
    replica.create_user("shut", SubjectState::Locked).await;
    for _ in 0..5 {
        assert!(!replica.user("ada", WRONG, "blocked").await.unwrap());
    }
    for (name, password, from) in [
        ("nobody", WRONG, "s"),
        ("ada", WRONG, "s"),
        ("out", RIGHT, "s"),
        ("shut", RIGHT, "s"),
        ("ada", RIGHT, "blocked"),
        ("ada", WRONG, "blocked"),
    ] {
        let before = replica.hasher.load().done;
        assert!(!replica.user(name, password, from).await.unwrap(), "{name} from {from}");
        assert_eq!(replica.hasher.load().done - before, 1, "{name} from {from}");
    }
    assert_eq!(site.count("FROM failure WHERE reserved > 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_nobodys_are_tallied_like_others() {
    let (site, replica) = Site::sqlite().await;
    for _ in 0..8 {
        assert!(!replica.user("nobody", WRONG, "s").await.unwrap());
    }
    assert_eq!(site.count("FROM failure WHERE subject_key LIKE '?%' AND failures = 5").await, 2);
    assert_eq!(site.count("FROM failure WHERE subject_key LIKE '%nobody%' OR source_class = 's'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_in_heavy_use_writes_little() {
    let (site, replica) = Site::sqlite().await;
    for _ in 0..500 {
        assert!(replica.device("d1", RIGHT, "s").await);
    }
    let revisions = site.count("FROM failure WHERE revision > 100").await;
    assert_eq!(revisions, 0, "not two writes an attempt");
}
