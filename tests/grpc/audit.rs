//! `AuditService`: the record is read in order, whole, and by who may.

use std::{collections::BTreeSet, time::Duration};

use prost::Message as _;
use rekey::proto::{
    AuditRecord, CreateUserRequest, ListAuditRecordsRequest, ListAuditRecordsResponse, Tenant, VerifyPasswordRequest,
    verify_password_request,
};
use tonic::{Code, Status};

use crate::common::rekey::{Clients, Rekey, fields, reason};

async fn with_tenants() -> Rekey {
    let rekey = Rekey::start().await;
    for tenant_id in ["acme", "other"] {
        rekey.make_tenant(Tenant { tenant_id: tenant_id.to_owned(), ..Tenant::default() }).await;
    }
    rekey
}

async fn make_user(rekey: &Rekey, tenant_id: &str, user_id: &str) {
    // Within a millisecond ids are in no order.
    rekey.clock.advance(Duration::from_millis(1));
    let request = CreateUserRequest {
        tenant_id: tenant_id.to_owned(),
        user_id: user_id.to_owned(),
        username: user_id.to_owned(),
        ..CreateUserRequest::default()
    };
    rekey.admin().users.create_user(request).await.unwrap();
}

fn page(page_size: i32, page_token: &str, filter: &str) -> ListAuditRecordsRequest {
    ListAuditRecordsRequest {
        tenant_id: "acme".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
        filter: filter.to_owned(),
    }
}

async fn list(clients: &Clients, request: ListAuditRecordsRequest) -> Result<ListAuditRecordsResponse, Status> {
    clients.audit.clone().list_audit_records(request).await.map(tonic::Response::into_inner)
}

fn targets(records: &[AuditRecord]) -> Vec<&str> {
    records.iter().map(|record| record.target_id.as_str()).collect()
}

fn settle(rekey: &Rekey) {
    rekey.clock.advance(Duration::from_secs(11));
}

#[tokio::test]
async fn records_come_in_order_page_by_page_and_what_follows_later_is_found_by_the_last_token() {
    let rekey = with_tenants().await;
    let admin = rekey.admin();
    for user in ["a", "b", "c"] {
        make_user(&rekey, "acme", user).await;
        make_user(&rekey, "other", &format!("elsewhere-{user}")).await;
    }
    let young = list(&admin, page(0, "", "")).await.unwrap();
    assert_eq!((young.records.len(), young.more), (0, false), "nothing is shown before it has settled");
    assert!(!young.next_page_token.is_empty());
    settle(&rekey);

    let first = list(&admin, page(2, &young.next_page_token, "")).await.unwrap();
    assert_eq!((targets(&first.records), first.more), (vec!["a", "b"], true));
    let record = &first.records[0];
    assert_eq!((record.tenant_id.as_str(), record.action.as_str()), ("acme", "UserService/CreateUser"));
    assert_eq!(
        (record.outcome.as_str(), record.reason.as_str(), record.target_kind.as_str()),
        ("succeeded", "", "user")
    );
    assert!(record.actor.starts_with("system/admin token:") && !record.request_id.is_empty());
    let second = list(&admin, page(2, &first.next_page_token, "")).await.unwrap();
    assert_eq!((targets(&second.records), second.more), (vec!["c"], false));
    let last = list(&admin, page(2, &second.next_page_token, "")).await.unwrap();
    assert_eq!((last.records.len(), last.more), (0, false));

    // Whoever reads on while others write misses nothing and sees nothing twice.
    let (mut seen, mut token) = (Vec::new(), last.next_page_token);
    for number in 0..12 {
        make_user(&rekey, "acme", &format!("u{number}")).await;
        rekey.clock.advance(Duration::from_secs(3));
        let next = list(&admin, page(2, &token, "")).await.unwrap();
        assert!(!next.next_page_token.is_empty());
        seen.extend(next.records.into_iter().map(|record| record.target_id));
        token = next.next_page_token;
    }
    settle(&rekey);
    loop {
        let next = list(&admin, page(2, &token, "")).await.unwrap();
        seen.extend(next.records.into_iter().map(|record| record.target_id));
        if !next.more {
            break;
        }
        token = next.next_page_token;
    }
    assert_eq!(seen, (0..12).map(|number| format!("u{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_filter_finds_what_fits_all_of_it() {
    let rekey = with_tenants().await;
    make_user(&rekey, "acme", "a").await;
    make_user(&rekey, "acme", "b").await;
    let check = VerifyPasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(verify_password_request::Subject::Username(r#"b" OR "1"="1"#.to_owned())),
        password: "something long enough".to_owned(),
        source: String::new(),
    };
    rekey.clock.advance(Duration::from_mins(1));
    rekey.admin().users.verify_password(check).await.unwrap();
    // Records of checks are written behind, and at the latest now.
    let rekey = rekey.pause().await.start().await;
    settle(&rekey);
    let admin = rekey.admin();
    for (filter, expected) in [
        ("", vec!["a", "b", r#"b" OR "1"="1"#]),
        (r#"action = "UserService/CreateUser""#, vec!["a", "b"]),
        (r#"action = "UserService/CreateUser" AND target_id = "b""#, vec!["b"]),
        (r#"target_id = "b\" OR \"1\"=\"1""#, vec![r#"b" OR "1"="1"#]),
        (r#"target_id = "%""#, vec![]),
        (r#"target_id = "'; DROP TABLE audit; --""#, vec![]),
        ("target_kind = tenant", vec![]),
        ("outcome = failed", vec![r#"b" OR "1"="1"#]),
        ("outcome = denied", vec![]),
        (r#"time >= "2026-01-01T00:00:30Z""#, vec![r#"b" OR "1"="1"#]),
        (r#"time < "2026-01-01T00:00:30Z" AND target_kind = user"#, vec!["a", "b"]),
        (r#"time >= "2027-01-01T00:00:00Z""#, vec![]),
    ] {
        let found = list(&admin, page(0, "", filter)).await.unwrap();
        assert_eq!((targets(&found.records), found.more), (expected, false), "{filter}");
        assert!(!found.next_page_token.is_empty());
    }
    let paged = r#"action = "UserService/CreateUser""#;
    let first = list(&admin, page(1, "", paged)).await.unwrap();
    assert_eq!((targets(&first.records), first.more), (vec!["a"], true));
    let second = list(&admin, page(1, &first.next_page_token, paged)).await.unwrap();
    assert_eq!((targets(&second.records), second.more), (vec!["b"], false));

    for bad in ["x", "actor = x", "outcome = fine", "action = x OR action = y", "action = \"a\0b\"", &"a".repeat(2_000)]
    {
        let refused = list(&admin, page(0, "", bad)).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["filter".to_owned()]), "{bad:?}");
    }
    let negative = list(&admin, page(-1, "", "")).await.unwrap_err();
    assert_eq!(fields(&negative), ["page_size"]);
}

#[tokio::test]
async fn a_page_token_is_good_for_who_got_it_and_for_what() {
    let rekey = with_tenants().await;
    settle(&rekey);
    let admin = rekey.admin();
    let (one, two) = (rekey.make_caller("system", &["audit:list"]).await, rekey.make_caller("acme", &["*"]).await);
    let token = list(&admin, page(1, "", "outcome = failed")).await.unwrap().next_page_token;
    assert!(list(&admin, page(5, &token, "outcome = failed")).await.is_ok(), "the size may change");

    let altered = format!("{}{}", &token[1..], &token[..1]);
    let elsewhere = ListAuditRecordsRequest { tenant_id: "other".to_owned(), ..page(1, &token, "outcome = failed") };
    let refused = [
        list(&rekey.clients(&one), page(1, &token, "outcome = failed")).await,
        list(&rekey.clients(&two), page(1, &token, "outcome = failed")).await,
        list(&admin, page(1, &token, "")).await,
        list(&admin, page(1, &token, "outcome = denied")).await,
        list(&admin, page(1, &altered, "outcome = failed")).await,
        list(&admin, page(1, &token[..token.len() - 2], "outcome = failed")).await,
        list(&admin, page(1, "nonsense", "outcome = failed")).await,
        list(&admin, elsewhere).await,
    ];
    for (place, answer) in refused.into_iter().enumerate() {
        let refused = answer.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["page_token".to_owned()]),
            "{place}"
        );
    }
}

#[tokio::test]
async fn a_tenant_s_record_is_for_its_auditors_and_the_platform_s() {
    let rekey = with_tenants().await;
    make_user(&rekey, "acme", "a").await;
    settle(&rekey);
    let own = rekey.clients(&rekey.make_caller("acme", &["audit:list"]).await);
    let platform = rekey.clients(&rekey.make_caller("system", &["audit:list"]).await);
    let foreign = rekey.clients(&rekey.make_caller("other", &["*"]).await);
    let weak = rekey.clients(&rekey.make_caller("acme", &["users:get", "users:census"]).await);
    for clients in [&own, &platform] {
        let read = list(clients, page(0, "", "")).await.unwrap();
        assert_eq!(targets(&read.records), ["a"]);
        assert!(!String::from_utf8_lossy(&read.encode_to_vec()).contains("elsewhere"));
    }
    // What makes a tenant is done in the platform's own.
    let system = ListAuditRecordsRequest { tenant_id: "system".to_owned(), ..page(0, "", "target_kind = tenant") };
    let made = list(&platform, system.clone()).await.unwrap().records;
    // Within one millisecond ids are in no order.
    assert_eq!(BTreeSet::from_iter(targets(&made)), BTreeSet::from(["system", "acme", "other"]));
    assert_eq!(reason(&list(&own, system).await.unwrap_err()), "TENANT_NOT_FOUND");
    assert_eq!(reason(&list(&foreign, page(0, "", "")).await.unwrap_err()), "TENANT_NOT_FOUND");
    assert_eq!(reason(&list(&weak, page(0, "", "")).await.unwrap_err()), "PERMISSION_MISSING");
}
