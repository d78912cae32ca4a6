//! What is in the database, past the service: the rows that must stand or fall together.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, QueryResult, Statement};

use crate::{
    model::{Kind, Subject},
    server::{PATIENCE, PAUSE},
};

/// One subject's rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// 0 where there is none.
    pub(crate) version: i64,
    pub(crate) login: String,
    pub(crate) locked: bool,
    pub(crate) label: String,
    /// The versions that are not revoked, by slot.
    pub(crate) live: BTreeMap<String, Vec<i64>>,
    /// Revoked ones whose payload is still there.
    pub(crate) unwiped: Vec<String>,
    /// Records of changes that were made.
    pub(crate) records: Vec<Record>,
}

/// A record of a change.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Under which it was sent.
    pub(crate) trace: String,
    pub(crate) detail: String,
}

/// The database, for reading.
pub(crate) struct Rows(DatabaseConnection);

impl Rows {
    pub(crate) async fn open(url: &str) -> Self {
        let mut options = ConnectOptions::new(url.to_owned());
        // As in the store: what would look after them may go round for ever.
        options.idle_timeout(None).max_lifetime(None).max_connections(1).sqlx_logging(false);
        Self(Database::connect(options).await.unwrap())
    }

    pub(crate) async fn close(self) {
        self.0.close().await.unwrap();
    }

    /// Waits until nothing that a killed process began is still under way in the server.
    pub(crate) async fn wait_until_quiet(&self) {
        if self.0.get_database_backend() == DbBackend::Sqlite {
            return;
        }
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                      AND pid <> pg_backend_pid() AND state <> 'idle'";
        let begun = Instant::now();
        while self.number(others).await > 0 {
            assert!(begun.elapsed() < PATIENCE, "a transaction of the killed process goes on");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What is wrong with the file itself; nothing on PostgreSQL.
    pub(crate) async fn defects(&self) -> Vec<String> {
        if self.0.get_database_backend() != DbBackend::Sqlite {
            return Vec::new();
        }
        let mut defects = Vec::new();
        for row in self.all("PRAGMA integrity_check").await {
            let said: String = row.try_get_by_index(0).unwrap();
            if said != "ok" {
                defects.push(format!("integrity_check: {said}"));
            }
        }
        for _ in self.all("PRAGMA foreign_key_check").await {
            defects.push("foreign_key_check: a row hangs on nothing".to_owned());
        }
        defects
    }

    /// The first value of the first row.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.all(sql).await[0].try_get_by_index(0).unwrap()
    }

    /// The first column.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        self.all(sql).await.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    /// The rows of these subjects of a tenant.
    pub(crate) async fn facts(&self, tenant: &str, subjects: &[&Subject]) -> BTreeMap<Subject, Facts> {
        let mut facts: BTreeMap<Subject, Facts> =
            subjects.iter().map(|subject| ((*subject).clone(), Facts::default())).collect();
        let mut uids = BTreeMap::new();
        let ids = quoted(subjects.iter().map(|subject| subject.id.as_str()));
        let within = format!("(SELECT uid FROM tenant WHERE external_id = '{tenant}')");
        let named = |kind: &str, id: String| {
            let kinds = [Kind::Device, Kind::Integration, Kind::User, Kind::Caller];
            kinds.into_iter().find(|known| known.name() == kind).map(|kind| Subject { kind, id })
        };

        let sql = format!(
            "SELECT uid, kind, external_id, login, version, state, attributes FROM subject \
             WHERE tenant_uid = {within} AND external_id IN ({ids})"
        );
        for row in self.all(&sql).await {
            let subject = named(&text(&row, "kind"), text(&row, "external_id")).unwrap();
            let Some(found) = facts.get_mut(&subject) else { continue };
            found.version = row.try_get("", "version").unwrap();
            found.login = row.try_get::<Option<String>>("", "login").unwrap().unwrap_or_default();
            found.locked = text(&row, "state") != "active";
            let attributes: serde_json::Value = serde_json::from_str(&text(&row, "attributes")).unwrap();
            attributes["labels"]["chaos"].as_str().unwrap_or_default().clone_into(&mut found.label);
            uids.insert(text(&row, "uid"), subject);
        }

        let sql = format!(
            "SELECT subject_uid, slot, version, stage, length(payload) AS size FROM secret \
             WHERE subject_uid IN ({}) ORDER BY version",
            quoted(uids.keys().map(String::as_str)),
        );
        for row in self.all(&sql).await {
            let found = facts.get_mut(&uids[&text(&row, "subject_uid")]).unwrap();
            let (slot, version) = (text(&row, "slot"), row.try_get::<i64>("", "version").unwrap());
            let size =
                row.try_get::<i32>("", "size").map_or_else(|_| row.try_get::<i64>("", "size").unwrap(), i64::from);
            if text(&row, "stage") != "revoked" {
                found.live.entry(slot).or_default().push(version);
            } else if size > 0 {
                found.unwiped.push(format!("{slot} {version}"));
            }
        }

        let sql = format!(
            "SELECT action, target_kind, target_id, request_id, detail FROM audit WHERE tenant_uid = {within} \
             AND target_id IN ({ids}) AND outcome = 'succeeded' ORDER BY uid"
        );
        for row in self.all(&sql).await {
            let subject = named(&text(&row, "target_kind"), text(&row, "target_id"));
            let action = text(&row, "action");
            let Some(found) = subject.and_then(|subject| facts.get_mut(&subject)) else { continue };
            if !["/Verify", "/Reveal", "#"].iter().any(|other| action.contains(other)) {
                found.records.push(Record { trace: text(&row, "request_id"), detail: text(&row, "detail") });
            }
        }
        facts
    }

    /// Which of these request ids have an answer that is kept.
    pub(crate) async fn replies<'a>(&self, request_ids: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let sql = format!("SELECT request_id FROM reply WHERE request_id IN ({})", quoted(request_ids));
        self.all(&sql).await.iter().map(|row| text(row, "request_id")).collect()
    }

    /// Subjects of a tenant whose version is not the number of the changes that are recorded of them.
    pub(crate) async fn miscounted(&self, tenant: &str) -> Vec<String> {
        let sql = format!(
            "SELECT subject.kind || ' ' || subject.external_id || ': version ' || subject.version || ', records ' \
             || count(audit.uid) AS found FROM subject JOIN tenant ON tenant.uid = subject.tenant_uid \
             LEFT JOIN audit ON audit.tenant_uid = subject.tenant_uid AND audit.target_id = subject.external_id \
             AND audit.target_kind = subject.kind AND audit.outcome = 'succeeded' AND audit.action NOT LIKE '%/Verify%' \
             AND audit.action NOT LIKE '%/Reveal%' AND audit.action NOT LIKE '%#%' \
             WHERE tenant.external_id = '{tenant}' GROUP BY subject.uid, subject.kind, subject.external_id, \
             subject.version HAVING count(audit.uid) <> subject.version"
        );
        self.all(&sql).await.iter().map(|row| text(row, "found")).collect()
    }

    async fn all(&self, sql: &str) -> Vec<QueryResult> {
        let statement = Statement::from_string(self.0.get_database_backend(), sql);
        self.0.query_all_raw(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

fn text(row: &QueryResult, column: &str) -> String {
    row.try_get("", column).unwrap()
}

/// A list of our own names, which hold no quotes.
fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("'{name}'")).collect();
    if names.is_empty() { "''".to_owned() } else { names.join(", ") }
}
