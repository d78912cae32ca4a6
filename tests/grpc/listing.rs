//! Lists through the front door: page by page while others write, with filters and orders, and tokens that carry no right.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use rekey::proto::{
    CreateCallerRequest, CreateUserRequest, DeleteUserRequest, ListCallersRequest, ListDevicesRequest,
    ListTenantsRequest, ListUsersRequest, LockUserRequest, SubjectState, Tenant, UpdateUserRequest, User,
};
use tonic::{Code, Status};

use crate::common::rekey::{Clients, Rekey, fields, reason};

/// On each engine that there is.
async fn engines() -> Vec<Rekey> {
    let mut engines = vec![Rekey::start().await];
    engines.extend(Rekey::start_on_postgres().await);
    for rekey in &engines {
        rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    }
    engines
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn make(clients: &Clients, id: &str, username: &str, pairs: &[(&str, &str)]) -> User {
    let request = CreateUserRequest {
        tenant_id: "acme".to_owned(),
        user_id: id.to_owned(),
        username: username.to_owned(),
        labels: labels(pairs),
        ..CreateUserRequest::default()
    };
    clients.clone().users.create_user(request).await.unwrap().into_inner().user.unwrap()
}

async fn delete(clients: &Clients, id: &str) {
    let (tenant_id, user_id) = ("acme".to_owned(), id.to_owned());
    let request = DeleteUserRequest { tenant_id, user_id, ..DeleteUserRequest::default() };
    clients.clone().users.delete_user(request).await.unwrap();
}

fn users(order_by: &str, filter: &str) -> ListUsersRequest {
    let (order_by, filter) = (order_by.to_owned(), filter.to_owned());
    ListUsersRequest { tenant_id: "acme".to_owned(), order_by, filter, ..ListUsersRequest::default() }
}

async fn ids(clients: &Clients, request: ListUsersRequest) -> Vec<String> {
    let page = clients.clone().users.list_users(request).await.unwrap().into_inner();
    page.users.into_iter().map(|user| user.user_id).collect()
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_who_stays_while_others_come_and_go() {
    for rekey in engines().await {
        let clients = rekey.admin();
        let stay: Vec<_> = (0..30).map(|number| format!("m{number:02}")).collect();
        for id in &stay {
            make(&clients, id, &format!("{id}@acme.example"), &[]).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let crowd = tokio::spawn({
            let (clients, stop) = (clients.clone(), Arc::clone(&stop));
            async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("{}{number}", ["a", "m1", "z"][number % 3]);
                    make(&clients, &format!("{id}-x"), &format!("{id}-x"), &[]).await;
                    delete(&clients, &format!("{id}-x")).await;
                    number += 1;
                }
            }
        });
        for order_by in
            ["", "user_id desc", "username", "username desc", "create_time", "create_time desc", "update_time"]
        {
            let mut seen = Vec::new();
            let mut page_token = String::new();
            for round in 0.. {
                // Before and behind wherever the page is, and between.
                let coming = [format!("a-{round}"), format!("m15-{round}"), format!("zz-{round}")];
                for id in &coming {
                    make(&clients, id, id, &[]).await;
                }
                let request = ListUsersRequest { page_size: 7, page_token, ..users(order_by, "") };
                let page = clients.clone().users.list_users(request).await.unwrap().into_inner();
                assert!(page.users.len() <= 7 && page.total_size.is_none());
                seen.extend(page.users.into_iter().map(|user| user.user_id));
                for id in &coming {
                    delete(&clients, id).await;
                }
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
                assert!(round < 200, "{order_by}: no end");
            }
            seen.retain(|id| stay.contains(id));
            let mut expected = stay.clone();
            if order_by.ends_with("desc") {
                expected.reverse();
            }
            assert_eq!(seen, expected, "{order_by}");
        }
        stop.store(true, Ordering::Relaxed);
        crowd.await.unwrap();
    }
}

#[tokio::test]
async fn filters_find_what_they_say_and_totals_are_counted_when_asked() {
    for rekey in engines().await {
        let clients = rekey.admin();
        make(&clients, "u1", "jane", &[("team", "blue"), ("role", "x")]).await;
        make(&clients, "u2", "ja%", &[("team", "blue \"one\"")]).await;
        make(&clients, "u3", "J_ne", &[]).await;
        let lock = LockUserRequest { tenant_id: "acme".to_owned(), user_id: "u2".to_owned(), ..Default::default() };
        clients.clone().users.lock_user(lock).await.unwrap();
        for (filter, expected) in [
            ("", &["u1", "u2", "u3"][..]),
            ("state = LOCKED", &["u2"]),
            ("username = \"ja*\"", &["u1", "u2"]),
            ("username = \"ja%\"", &["u2"]),
            ("username = \"J_ne\"", &["u3"]),
            ("username = \"_*\"", &[]),
            ("username = \"'; DROP TABLE subject; --\"", &[]),
            ("labels.team = \"blue*\"", &["u1", "u2"]),
            ("labels.team = \"blue \\\"one\\\"\"", &["u2"]),
            ("labels.role = \"x\" AND state = ACTIVE", &["u1"]),
            ("create_time < \"2026-01-01T00:00:00Z\"", &[]),
            ("create_time >= \"2026-01-01T00:00:00Z\"", &["u1", "u2", "u3"]),
        ] {
            assert_eq!(ids(&clients, users("", filter)).await, expected, "{filter}");
            let counted = ListUsersRequest { count_total: true, page_size: 1, ..users("", filter) };
            let page = clients.clone().users.list_users(counted).await.unwrap().into_inner();
            assert_eq!(page.total_size, Some(i64::try_from(expected.len()).unwrap()), "{filter}");
        }
        assert_eq!(ids(&clients, users("update_time desc", "")).await[0], "u2", "the last that was changed");

        // A label that went is not found, and one that came is.
        let user = User { labels: labels(&[("team", "red")]), ..User::default() };
        let update = UpdateUserRequest {
            tenant_id: "acme".to_owned(),
            user_id: "u1".to_owned(),
            user: Some(user),
            update_mask: Some(prost_types::FieldMask { paths: vec!["labels".to_owned()] }),
            ..UpdateUserRequest::default()
        };
        clients.clone().users.update_user(update).await.unwrap();
        assert_eq!(ids(&clients, users("", "labels.team = \"red\"")).await, ["u1"]);
        assert_eq!(ids(&clients, users("", "labels.role = \"x\"")).await, [""; 0]);

        let caller = CreateCallerRequest {
            tenant_id: "acme".to_owned(),
            caller_id: "svc".to_owned(),
            display_name: "Billing “one”".to_owned(),
            ..CreateCallerRequest::default()
        };
        clients.clone().callers.create_caller(caller).await.unwrap();
        let filter = "display_name = \"Bill*\"".to_owned();
        let request = ListCallersRequest { tenant_id: "acme".to_owned(), filter, ..ListCallersRequest::default() };
        assert_eq!(
            clients.clone().callers.list_callers(request).await.unwrap().into_inner().callers[0].caller_id,
            "svc"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_page_is_told_by_its_field() {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    let clients = rekey.admin();
    let ask = async |request: ListUsersRequest| -> Status {
        let status = clients.clone().users.list_users(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
        status
    };
    let long = format!("username = \"{}\"", "x".repeat(10_000));
    for filter in [
        "password = \"x\"",
        "user_name = \"x\"",
        "state = ACTIVE OR state = LOCKED",
        "username = \"a*b\"",
        "username = \"x",
        "uid = \"x\"",
        &long,
    ] {
        let status = ask(users("", filter)).await;
        assert_eq!(fields(&status), ["filter"], "{filter}");
        assert!(status.details().len() < 1_024);
    }
    for order_by in
        ["login", "password", "user_id asc", "user_id, username", "1; DROP TABLE subject", &"x".repeat(10_000)]
    {
        assert_eq!(fields(&ask(users(order_by, "")).await), ["order_by"], "{order_by}");
    }
    let all = ListUsersRequest { page_size: -1, ..users("x", "x") };
    assert_eq!(fields(&ask(all).await), ["page_size", "filter", "order_by"]);
    // What others are filtered by is unknown here.
    let request = ListDevicesRequest {
        tenant_id: "acme".to_owned(),
        filter: "username = \"x\"".to_owned(),
        ..ListDevicesRequest::default()
    };
    assert_eq!(fields(&clients.clone().devices.list_devices(request).await.unwrap_err()), ["filter"]);
    for filter in ["state = LOCKED", "display_name = \"x\""] {
        let request = ListTenantsRequest { filter: filter.to_owned(), ..ListTenantsRequest::default() };
        assert_eq!(fields(&clients.clone().tenants.list_tenants(request).await.unwrap_err()), ["filter"], "{filter}");
    }
}

#[tokio::test]
async fn a_page_token_is_good_for_the_same_caller_and_request_for_a_day() {
    let rekey = Rekey::start().await;
    for tenant_id in ["acme", "other"] {
        rekey.make_tenant(Tenant { tenant_id: tenant_id.to_owned(), ..Tenant::default() }).await;
    }
    let admin = rekey.admin();
    for id in ["first-user", "second-user", "third-user"] {
        make(&admin, id, id, &[]).await;
    }
    let request = ListUsersRequest { page_size: 1, ..users("create_time", "state = ACTIVE") };
    let first = admin.clone().users.list_users(request.clone()).await.unwrap().into_inner();
    let page_token = first.next_page_token;
    // Long enough not to be there by chance.
    let told = BASE64URL_NOPAD.decode(page_token.as_bytes()).unwrap();
    assert!(!told.windows(10).any(|part| part == b"first-user"), "it tells nothing");
    let second = ListUsersRequest { page_token: page_token.clone(), ..request.clone() };
    assert_eq!(ids(&admin, second.clone()).await, ["second-user"]);
    assert_eq!(
        ids(&admin, ListUsersRequest { page_size: 5, ..second.clone() }).await,
        ["second-user", "third-user"],
        "of another size"
    );
    let replica = rekey.replica().await;
    assert_eq!(ids(&replica.clients(&rekey.admin_token), second.clone()).await, ["second-user"]);
    replica.stop().await;

    let refused = async |clients: &Clients, request: ListUsersRequest, what: &str| {
        let status = clients.clone().users.list_users(request).await.unwrap_err();
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["page_token".to_owned()]), "{what}");
    };
    for (what, request) in [
        ("another filter", ListUsersRequest { filter: "state = LOCKED".to_owned(), ..second.clone() }),
        ("no filter", ListUsersRequest { filter: String::new(), ..second.clone() }),
        ("another order", ListUsersRequest { order_by: "create_time desc".to_owned(), ..second.clone() }),
        ("another tenant", ListUsersRequest { tenant_id: "other".to_owned(), ..second.clone() }),
    ] {
        refused(&admin, request, what).await;
    }
    for permissions in [&["*"][..], &["users:list"]] {
        for tenant in ["system", "acme"] {
            let other = rekey.clients(&rekey.make_caller(tenant, permissions).await);
            refused(&other, second.clone(), "another caller").await;
        }
    }
    for cut in [1, 7, page_token.len() / 2] {
        let page_token = page_token[..page_token.len() - cut].to_owned();
        refused(&admin, ListUsersRequest { page_token, ..second.clone() }, "cut off").await;
    }
    for place in [0, 9, page_token.len() / 2, page_token.len() - 3] {
        let mut altered = page_token.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        let page_token = String::from_utf8(altered).unwrap();
        refused(&admin, ListUsersRequest { page_token, ..second.clone() }, "altered").await;
    }
    for page_token in ["x".to_owned(), "%".to_owned(), "A".repeat(10_000), format!("{page_token}{page_token}")] {
        refused(&admin, ListUsersRequest { page_token, ..second.clone() }, "made up").await;
    }
    let token = page_token.clone();
    let devices = ListDevicesRequest {
        tenant_id: "acme".to_owned(),
        page_token: token,
        filter: "state = ACTIVE".to_owned(),
        order_by: "create_time".to_owned(),
        ..ListDevicesRequest::default()
    };
    assert_eq!(fields(&admin.clone().devices.list_devices(devices).await.unwrap_err()), ["page_token"]);

    // Whoever the token points behind may be gone, and come again as somebody else.
    delete(&admin, "first-user").await;
    assert_eq!(ids(&admin, second.clone()).await, ["second-user"]);
    make(&admin, "first-user", "first-user", &[]).await;
    assert_eq!(
        ids(&admin, ListUsersRequest { page_size: 9, ..second.clone() }).await,
        ["second-user", "third-user", "first-user"]
    );

    rekey.clock.advance(Duration::from_mins(24 * 60 - 1));
    assert_eq!(ids(&admin, second.clone()).await, ["second-user"]);
    rekey.clock.advance(Duration::from_mins(2));
    refused(&admin, second, "a day old").await;
}

#[tokio::test]
async fn tenants_are_filtered_and_sorted_and_their_own_callers_see_one() {
    let rekey = Rekey::start().await;
    for (tenant_id, plan) in [("a", "pro"), ("b", "free"), ("c", "pro")] {
        let labels = labels(&[("plan", plan)]);
        rekey.make_tenant(Tenant { tenant_id: tenant_id.to_owned(), labels, ..Tenant::default() }).await;
    }
    let list = async |clients: &Clients, filter: &str, order_by: &str| -> (Vec<String>, Option<i64>) {
        let (filter, order_by) = (filter.to_owned(), order_by.to_owned());
        let request = ListTenantsRequest { filter, order_by, count_total: true, ..ListTenantsRequest::default() };
        let page = clients.clone().tenants.list_tenants(request).await.unwrap().into_inner();
        assert!(page.tenants.iter().all(|tenant| tenant.state() == SubjectState::Active));
        (page.tenants.into_iter().map(|tenant| tenant.tenant_id).collect(), page.total_size)
    };
    let admin = rekey.admin();
    assert_eq!(
        list(&admin, "labels.plan = \"pro\"", "create_time desc").await,
        (vec!["c".into(), "a".into()], Some(2))
    );
    assert_eq!(list(&admin, "", "tenant_id desc").await.0, ["system", "c", "b", "a"]);
    let own = rekey.clients(&rekey.make_caller("b", &["tenants:list"]).await);
    assert_eq!(list(&own, "", "").await, (vec!["b".into()], Some(1)));
    assert_eq!(list(&own, "labels.plan = \"pro\"", "").await, (Vec::new(), Some(0)));
}
