//! The record, read back: in order, by filter, and by an index.

use std::time::{Duration, Instant};

use rekey::{
    audit::{Filter, Outcome, Record, Wait},
    domain::{Timestamp, Uid},
};

use crate::fixture::{Database, LATER, NOW, record};

/// In the n-th millisecond the n-th record: of 25 tenants in turn, about 100 targets in turn.
async fn fill(database: &Database, from: i64, to: i64, tenant: &str) {
    let (series, uid) = if database.is_sqlite() {
        let series = format!("WITH RECURSIVE s(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM s WHERE n < {to})");
        (format!("{series} INSERT INTO audit"), "printf('%012x%012x', n, n)".to_owned())
    } else {
        let series = format!("WITH s(n) AS (SELECT generate_series({from}, {to}))");
        (format!("{series} INSERT INTO audit"), "lpad(to_hex(n), 12, '0') || lpad(to_hex(n), 12, '0')".to_owned())
    };
    let columns = "uid, tenant_uid, time, actor, action, target_kind, target_id, outcome, request_id, detail";
    let values = format!(
        "{uid}, {tenant}, n * 1000, 'actor', CASE n % 1000 WHEN 0 THEN 'rare' ELSE 'frequent' END, 'user',
         'target' || (n / 25 % 100), CASE n % 2 WHEN 0 THEN 'succeeded' ELSE 'failed' END, 'r', ''"
    );
    database.raw.run(&format!("{series} ({columns}) SELECT {values} FROM s")).await;
}

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_micros(millisecond * 1_000)
}

/// All pages, as numbers of records, and how many pages there were.
async fn read(database: &Database, tenant: &str, until: Timestamp, filter: &Filter, size: u32) -> (Vec<i64>, usize) {
    let (tenant, mut found, mut position, mut pages) = (Uid::from_stored(tenant), Vec::new(), String::new(), 0);
    loop {
        let page = database.store.records(&tenant, &position, until, filter, size).await.unwrap();
        assert!(page.records.len() <= size as usize && page.position >= position);
        found.extend(page.records.iter().map(|record| record.time.micros() / 1_000));
        (position, pages) = (page.position, pages + 1);
        if !page.more {
            return (found, pages);
        }
    }
}

pub(crate) async fn records_are_read_in_order_and_by_filter(database: Database) {
    fill(&database, 1, 5_000, "'t' || (n % 25)").await;
    let all: Vec<i64> = (1..=5_000).filter(|number| number % 25 == 7).collect();
    let none = Filter::default();
    for size in [1_000, 37, 50, 200] {
        assert_eq!(read(&database, "t7", at(9_000), &none, size).await.0, all, "{size} on a page");
    }
    let until: Vec<i64> = all.iter().copied().filter(|number| *number < 1_007).collect();
    assert_eq!(read(&database, "t7", at(1_007), &none, 10).await.0, until, "what is not settled is not shown");
    assert_eq!(read(&database, "nobody", at(9_000), &none, 10).await, (vec![], 1));

    let target = |number: i64| number / 25 % 100 == 3;
    for (filter, fits) in [
        (
            Filter { target_id: Some("target3".to_owned()), ..none.clone() },
            &(|number| target(number)) as &dyn Fn(i64) -> bool,
        ),
        (Filter { outcome: Some(Outcome::Failed), ..none.clone() }, &|number| number % 2 == 1),
        (Filter { target_kind: Some("device".to_owned()), ..none.clone() }, &|_| false),
        (Filter { action: Some("frequent".to_owned()), ..none.clone() }, &|_| true),
        (Filter { from: Some(at(1_007)), until: Some(at(2_007)), ..none.clone() }, &|number| {
            (1_007..2_007).contains(&number)
        }),
        (
            Filter {
                from: Some(Timestamp::from_micros(1_007_001)),
                until: Some(Timestamp::from_micros(2_007_001)),
                ..none.clone()
            },
            &|number| (1_008..=2_007).contains(&number),
        ),
        (
            Filter {
                target_id: Some("target3".to_owned()),
                outcome: Some(Outcome::Succeeded),
                from: Some(at(2_000)),
                ..none.clone()
            },
            &|number| target(number) && number % 2 == 0 && number >= 2_000,
        ),
        (Filter { from: Some(at(-5)), until: Some(Timestamp::from_micros(i64::MAX)), ..none.clone() }, &|_| true),
    ] {
        let expected: Vec<i64> = all.iter().copied().filter(|number| fits(*number)).collect();
        assert_eq!(read(&database, "t7", at(9_000), &filter, 7).await.0, expected, "{filter:?}");
    }

    // What comes after the last page's position is found from there; a clock set back brings nothing again.
    let tenant = Uid::from_stored("t7");
    let first = database.store.records(&tenant, "", at(6_000), &none, 1_000).await.unwrap();
    fill(&database, 6_007, 6_007, "'t' || (n % 25)").await;
    let set_back = database.store.records(&tenant, &first.position, at(3_000), &none, 1_000).await.unwrap();
    assert_eq!((set_back.records.len(), &set_back.position), (0, &first.position));
    let next = database.store.records(&tenant, &set_back.position, at(9_000), &none, 1_000).await.unwrap();
    assert_eq!(next.records.iter().map(|record| record.time).collect::<Vec<_>>(), [at(6_007)]);
}

pub(crate) async fn a_filter_that_fits_little_is_answered_in_bounded_steps(database: Database) {
    fill(&database, 1, 25_000, "'big'").await;
    let rare = Filter { action: Some("rare".to_owned()), from: Some(at(500)), ..Filter::default() };
    let thousands: Vec<i64> = (1..=25).map(|thousand| thousand * 1_000).collect();
    // 24,501 records at 10,000 a page; the rare ones fit on each.
    assert_eq!(read(&database, "big", at(90_000), &rare, 100).await, (thousands.clone(), 3));
    assert_eq!(read(&database, "big", at(90_000), &rare, 4).await.0, thousands);
    let never = Filter { action: Some("never".to_owned()), ..Filter::default() };
    assert_eq!(read(&database, "big", at(90_000), &never, 100).await, (vec![], 3));
}

pub(crate) async fn no_page_of_records_reads_the_whole_table(database: Database) {
    fill(&database, 1, 25_000, "'t' || (n % 25)").await;
    database.raw.run("ANALYZE").await;
    // What the store asks, written out.
    let rows = |columns: &str, values: &str| {
        format!(
            "FROM audit WHERE ({columns}, uid) > ({values}, '000000000010') AND ({columns}, uid) < ({values}, '0000ffff0000')"
        )
    };
    let (tenant, by_tenant) = (rows("tenant_uid", "'t7'"), "ORDER BY tenant_uid, uid");
    let target = rows("tenant_uid, target_id", "'t7', 'target3'");
    let by_target = "ORDER BY tenant_uid, target_id, uid";
    for (sql, index) in [
        (format!("SELECT * {tenant} {by_tenant} LIMIT 51"), "audit_tenant_idx"),
        (format!("SELECT uid {tenant} {by_tenant} LIMIT 1 OFFSET 9999"), "audit_tenant_idx"),
        (
            format!("SELECT * {tenant} AND action = 'rare' AND uid <= '0000fff00000' {by_tenant} LIMIT 51"),
            "audit_tenant_idx",
        ),
        (format!("SELECT * {target} {by_target} LIMIT 51"), "audit_target_idx"),
        (format!("SELECT uid {target} {by_target} LIMIT 1 OFFSET 9999"), "audit_target_idx"),
        (format!("SELECT * {target} AND outcome = 'failed' {by_target} LIMIT 51"), "audit_target_idx"),
    ] {
        let plan = database.raw.plan(&sql).await;
        // PostgreSQL may take the other index, or sort, where it expects a few hundred rows; never everybody's.
        let expected = if database.is_sqlite() { index } else { "audit_t" };
        let everybody = ["Seq Scan", "SCAN ", "TEMP B-TREE", "audit_pkey"].iter().any(|scan| plan.contains(scan));
        assert!(plan.contains(expected) && !everybody, "{sql}: {plan}");
    }
}

/// Whoever has read past the time when a record was made finds it all the same.
pub(crate) async fn what_is_written_late_is_of_a_late_time(database: Database) {
    let tenant = database.tenant("acme").await;
    for (waited, later) in
        [(Duration::from_millis(500), Duration::ZERO), (Duration::from_secs(30), Duration::from_secs(30))]
    {
        let uid = Uid::from_stored(format!("{}abcdefabcdef", Uid::boundary(NOW)));
        #[expect(clippy::disallowed_methods, reason = "since when it waits")]
        let wait = Wait::since(Instant::now().checked_sub(waited).unwrap());
        let note = Record { uid: uid.clone(), wait, ..record(&tenant.uid) };
        database.store.append_records(vec![note]).await.unwrap();
        let position = Uid::boundary(NOW.plus(later));
        let page =
            database.store.records(&tenant.uid, &position, LATER.plus(later), &Filter::default(), 10).await.unwrap();
        let found = page.records.iter().find(|kept| kept.uid.as_str().ends_with("abcdefabcdef")).unwrap();
        assert!(found.time >= NOW.plus(later) && found.time <= NOW.plus(later * 2), "{:?}", found.time);
        assert_eq!(found.uid == uid, later.is_zero());
        database.raw.run("DELETE FROM audit WHERE uid LIKE '%abcdefabcdef'").await;
    }
}
