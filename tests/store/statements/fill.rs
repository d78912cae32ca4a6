//! Enough rows that no engine prefers to read a table from end to end.

use crate::fixture::Raw;

/// A table, how many rows it gets, and what stands in its columns, in terms of the row's number `i`. What is not named is
/// null where it may be, and otherwise empty: so a new column needs nothing here unless its value matters.
type Rows<'a> = (&'a str, u32, &'a [(&'a str, &'a str)]);

/// Fills every table, `subject` and `audit` for the most part in this tenant.
#[expect(clippy::too_many_lines, reason = "a list: each table and its columns")]
pub(super) async fn fill(raw: &Raw, tenant: &str) {
    let uid = |letter: char| format!("'{letter}' || substr('00000000000000000000000' || i, -23)");
    let uid = |letter: char| {
        if raw.is_sqlite() { uid(letter) } else { format!("'{letter}' || lpad(i::text, 23, '0')") }
    };
    // The record's stand in the order of time: before all that is made now.
    let all = ['a', 'b', 'c', '0'].map(uid);
    let [a, b, c, d] = all.each_ref().map(String::as_str);
    let (ours, settings) = (format!("'{tenant}'"), format!("(SELECT settings FROM tenant WHERE uid = '{tenant}')"));
    let (ours, settings) = (ours.as_str(), settings.as_str());
    let day = "1767225600000000 - i * 1000";
    let rows: [Rows<'_>; 12] = [
        (
            "tenant",
            6_000,
            &[
                ("uid", a),
                ("external_id", "'t' || i"),
                ("settings", settings),
                ("version", "1"),
                ("create_time", day),
                ("update_time", day),
                ("state", "'active'"),
            ],
        ),
        ("tenant_alias", 6_000, &[("dialect", "'applivery'"), ("name", "'n' || i"), ("tenant_uid", a)]),
        ("tenant_label", 6_000, &[("tenant_uid", a), ("name", "'tier'"), ("value", "'v' || i")]),
        ("jwt_issuer", 6_000, &[("tenant_uid", a), ("issuer", "'https://' || i")]),
        ("token_issuer", 1_000, &[("tenant_uid", a), ("issuer", "'https://' || i")]),
        ("data_key", 6_000, &[("uid", b), ("tenant_uid", a), ("wrapping_key_id", "'w1'")]),
        (
            "subject",
            20_000,
            &[
                ("uid", c),
                ("tenant_uid", ours),
                ("kind", "CASE WHEN i % 2 = 0 THEN 'user' ELSE 'device' END"),
                ("external_id", "'s' || i"),
                ("login", "'s' || i"),
                ("state", "'active'"),
                ("attributes", "'{}'"),
                ("version", "1"),
                ("create_time", day),
                ("update_time", day),
            ],
        ),
        (
            "subject_label",
            5_000,
            &[
                ("subject_uid", c),
                ("name", "'site'"),
                ("tenant_uid", ours),
                ("kind", "'user'"),
                ("value", "'v' || (i % 500)"),
            ],
        ),
        (
            "secret",
            30_000,
            &[
                ("subject_uid", "SUBJECT"),
                ("slot", "'password'"),
                ("version", "1 + i / 20001"),
                ("stage", "CASE WHEN i > 20000 THEN 'revoked' ELSE 'current' END"),
                ("material", "'sealed'"),
                ("key_id", "'k1'"),
            ],
        ),
        (
            "audit",
            40_000,
            &[
                ("uid", d),
                ("tenant_uid", ours),
                ("time", day),
                ("actor", "'a'"),
                ("action", "'UserService/GetUser'"),
                ("target_kind", "'user'"),
                ("target_id", "'s' || (i % 9000)"),
                ("outcome", "'succeeded'"),
                ("request_id", "'r'"),
            ],
        ),
        (
            "failure",
            10_000,
            &[("subject_key", "'k' || (i / 2)"), ("source_class", "'c' || i"), ("expire_time", "1867225600000000 + i")],
        ),
        (
            "reply",
            5_000,
            &[
                ("tenant_uid", ours),
                ("caller", "'c'"),
                ("request_id", "'r' || i"),
                ("expire_time", "1867225600000000 + i"),
            ],
        ),
    ];
    let secret_of = if raw.is_sqlite() {
        "'c' || substr('00000000000000000000000' || (1 + (i - 1) % 20000), -23)"
    } else {
        "'c' || lpad((1 + (i - 1) % 20000)::text, 23, '0')"
    };
    for (table, count, given) in rows {
        let given: Vec<_> =
            given.iter().map(|(name, value)| (*name, if *value == "SUBJECT" { secret_of } else { *value })).collect();
        insert(raw, table, count, &given).await;
    }
    let signatures = [("digest", "'s' || i"), ("expire_time", "1867225600000000 + i")];
    insert(raw, "used_signature", 5_000, &signatures).await;
    raw.run("ANALYZE").await;
}

async fn insert(raw: &Raw, table: &str, count: u32, given: &[(&str, &str)]) {
    let mut columns = Vec::new();
    let mut values = Vec::new();
    for (name, kind, required) in raw.columns(table).await {
        let value = match given.iter().find(|(given, _)| *given == name) {
            Some((_, value)) => (*value).to_owned(),
            None if !required => continue,
            None => match kind.as_str() {
                "bigint" | "integer" => "0",
                "boolean" => "false",
                "text" => "''",
                "blob" => "x'00'",
                "bytea" => "'\\x00'::bytea",
                other => panic!("{table}.{name} is {other}"),
            }
            .to_owned(),
        };
        columns.push(name);
        values.push(value);
    }
    assert!(given.iter().all(|(name, _)| columns.iter().any(|column| column == name)), "{table}: {columns:?}");
    let (columns, values) = (columns.join(", "), values.join(", "));
    let numbers = if raw.is_sqlite() {
        format!("(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) n")
    } else {
        // Or it is analysed again in the middle of a test, and a plan changes.
        raw.run(&format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await;
        format!("generate_series(1, {count}) AS n(i)")
    };
    raw.run(&format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {numbers}")).await;
}
