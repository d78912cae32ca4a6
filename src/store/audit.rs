//! Writing records: in the transaction of the act, so that there is neither without the other. And reading them.

use std::{cmp::max, fmt::Write as _, time::Duration};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbBackend, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Select, Statement, Value,
    sea_query::{Expr, ExprTrait as _},
};

use super::{
    Store,
    apart::{Part, set_aside},
    entity::audit,
    error::Failure,
    transaction::Command,
};
use crate::{
    audit::{Filter, Kept, Outcome, Page, Record, Target},
    domain::{Reason, Result, Timestamp, Uid},
    planted::{Bug, is_planted},
};

/// How many records one page looks at, however few of them fit.
const WINDOW: u64 = 10_000;

impl Store {
    /// Writes records of what changed nothing, all of them or none.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn append_records(&self, records: Vec<Record>) -> Result<()> {
        self.run(AppendRecords { records }).await
    }

    /// At most `size` of a tenant's records that were made before `until`, after a position; the oldest first.
    ///
    /// Tenant, target and time are found by an index; of the records that leaves, at most 10,000 are looked at for the rest
    /// of the filter. So a page may hold few or none, and more may follow.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn records(
        &self,
        tenant_uid: &Uid,
        after: &str,
        until: Timestamp,
        filter: &Filter,
        size: u32,
    ) -> Result<Page> {
        let end = Uid::boundary(filter.until.map_or(until, |time| time.plus(MILLISECOND).min(until)));
        let begin = filter.from.map(Uid::boundary).unwrap_or_default();
        let found = seek(tenant_uid, max(after, begin.as_str()), &end, filter);
        let rest = filter.action.is_some() || filter.outcome.is_some() || filter.target_kind.is_some();
        // Where what is looked at must end; nothing to look at has none.
        let window: Option<String> = if rest {
            let last = found.clone().select_only().column(audit::Column::Uid).offset(WINDOW - 1).limit(1);
            last.into_tuple().one(&self.reader).await?
        } else {
            None
        };
        let mut query = narrow(found, filter);
        if let Some(last) = &window {
            query = query.filter(audit::Column::Uid.lte(last.as_str()));
        }
        // One more than asked for tells whether there is more.
        let mut records: Vec<Kept> =
            query.limit(u64::from(size) + 1).all(&self.reader).await?.into_iter().map(read).collect();
        let full = records.len() > size as usize;
        records.truncate(size as usize);
        let position = match (records.last(), &window) {
            (Some(last), _) if full => last.uid.to_string(),
            (_, Some(looked_at)) => looked_at.clone(),
            (_, None) => end,
        };
        // A clock that was set back does not bring back what was read.
        Ok(Page { records, position: max(position, after.to_owned()), more: full || window.is_some() })
    }
}

/// Ids tell milliseconds, and times more.
const MILLISECOND: Duration = Duration::from_millis(1);

/// What an index leads to, in its order. Rows are compared whole: told that the tenant is this one, PostgreSQL may walk
/// through everybody's records by their ids instead.
fn seek(tenant_uid: &Uid, after: &str, end: &str, filter: &Filter) -> Select<audit::Entity> {
    let (mut columns, mut values) = (vec![audit::Column::TenantUid], vec![tenant_uid.as_str()]);
    if let Some(id) = &filter.target_id {
        columns.push(audit::Column::TargetId);
        values.push(id);
    }
    columns.push(audit::Column::Uid);
    let row = || Expr::tuple(columns.iter().map(|column| Expr::col(*column)));
    let to = |uid| Expr::tuple(values.iter().copied().chain([uid]).map(Expr::val));
    let query = audit::Entity::find().filter(row().gt(to(after))).filter(row().lt(to(end)));
    columns.iter().fold(query, |query, column| query.order_by_asc(*column))
}

/// The rest of the filter.
fn narrow(mut query: Select<audit::Entity>, filter: &Filter) -> Select<audit::Entity> {
    let equal = [
        (audit::Column::Action, filter.action.as_deref()),
        (audit::Column::Outcome, filter.outcome.map(Outcome::as_str)),
        (audit::Column::TargetKind, filter.target_kind.as_deref()),
    ];
    for (column, value) in equal.into_iter().filter_map(|(column, value)| Some((column, value?))) {
        query = query.filter(column.eq(value));
    }
    if let Some(from) = filter.from {
        query = query.filter(audit::Column::Time.gte(from.micros()));
    }
    if let Some(until) = filter.until {
        query = query.filter(audit::Column::Time.lt(until.micros()));
    }
    query
}

fn read(row: audit::Model) -> Kept {
    Kept {
        uid: Uid::from_stored(row.uid),
        time: Timestamp::from_micros(row.time),
        actor: row.actor,
        action: row.action,
        target_kind: row.target_kind,
        target_id: row.target_id,
        outcome: row.outcome,
        reason: row.reason,
        request_id: row.request_id,
        detail: row.detail,
    }
}

/// Adds a record.
pub(super) async fn append(transaction: &DatabaseTransaction, record: &Record) -> Result<(), Failure> {
    if is_planted(Bug::RecordApart) {
        set_aside(Part::Record(Box::new(record.clone())));
        return Ok(());
    }
    insert(transaction, record).await
}

/// The same, whatever is planted.
pub(super) async fn insert(transaction: &DatabaseTransaction, record: &Record) -> Result<(), Failure> {
    let insertion = insertion(transaction.get_database_backend(), 1);
    run(transaction, &insertion, std::slice::from_ref(record)).await
}

/// Columns that many records of a moment have in common, in the order of [`common`].
const COMMON: [&str; 7] = ["tenant_uid", "actor", "action", "target_kind", "outcome", "reason", "detail"];
/// Those that are each record's own, in the order of [`own`].
const OWN: [&str; 4] = ["uid", r#""time""#, "target_id", "request_id"];

/// A statement that adds so many records with the same common columns, which are sent once: after what is each record's
/// own. Written out: of each check there is a record, and to have a statement composed would cost more than to run it.
fn insertion(backend: DbBackend, records: usize) -> String {
    let is_sqlite = backend == DbBackend::Sqlite;
    // SQLite keeps what a statement of many rows changes, page by page, to undo a part of it; here the transaction is
    // undone as a whole.
    let insert = if is_sqlite && records > 1 { "INSERT OR FAIL" } else { "INSERT" };
    let mut sql = format!("{insert} INTO audit ({}, {}) VALUES ", COMMON.join(", "), OWN.join(", "));
    for row in 0..records {
        let own = row * OWN.len() + 1..=(row + 1) * OWN.len();
        let common = (1..=COMMON.len()).map(|column| records * OWN.len() + column);
        for (column, place) in common.chain(own).enumerate() {
            let before = match (row, column) {
                (0, 0) => "(",
                (_, 0) => "), (",
                _ => ", ",
            };
            // Into a string nothing fails. A place without a number is the next one, to the driver too, which looks for
            // each name among all that there are.
            let _ = match column {
                _ if is_sqlite && column >= COMMON.len() => write!(sql, "{before}?"),
                _ => write!(sql, "{before}${place}"),
            };
        }
    }
    sql.push(')');
    sql
}

/// Runs it, for as many.
async fn run(transaction: &DatabaseTransaction, insertion: &str, records: &[Record]) -> Result<(), Failure> {
    let values = records.iter().flat_map(own).chain(records.first().map(common).into_iter().flatten());
    let backend = transaction.get_database_backend();
    transaction.execute_raw(Statement::from_sql_and_values(backend, insertion, values)).await?;
    Ok(())
}

/// A record that waits longer for its transaction, or within it, is of the time when it is written: who has read past the
/// time when it was made would never see it.
const ON_TIME: Duration = Duration::from_secs(3);

fn common(record: &Record) -> [Value; COMMON.len()] {
    [
        record.tenant_uid.as_str().into(),
        record.actor.as_str().into(),
        record.action.into(),
        target(record).0.into(),
        record.outcome.as_str().into(),
        record.reason.map(Reason::name).into(),
        record.detail.as_str().into(),
    ]
}

fn own(record: &Record) -> [Value; OWN.len()] {
    let late = Some(record.wait.elapsed()).filter(|late| *late > ON_TIME).unwrap_or_default();
    [
        record.uid.later(late).as_str().into(),
        record.time.plus(late).micros().into(),
        target(record).1.into(),
        record.request_id.as_str().into(),
    ]
}

/// Kind and id.
fn target(record: &Record) -> (Option<&str>, Option<&str>) {
    match &record.target {
        Target::Tenant(id) => (Some("tenant"), Some(id)),
        Target::Subject(kind, id) => (Some(kind.as_str()), Some(id)),
        Target::Job(uid) => (Some("job"), Some(uid.as_str())),
        Target::None => (None, None),
    }
}

/// Whether the common columns of two records are the same.
fn are_alike(one: &Record, other: &Record) -> bool {
    one.tenant_uid == other.tenant_uid
        && one.actor == other.actor
        && one.action == other.action
        && target(one).0 == target(other).0
        && (one.outcome, one.reason) == (other.outcome, other.reason)
        && one.detail == other.detail
}

/// Rows of one statement, the most first: of few sizes, so that each is prepared once.
const ROWS: [usize; 4] = [64, 16, 4, 1];

struct AppendRecords {
    records: Vec<Record>,
}

impl Command for AppendRecords {
    const NAME: &'static str = "append_records";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        for alike in self.records.chunk_by(are_alike) {
            let mut rest = alike;
            for size in ROWS.into_iter().filter(|size| alike.len() >= *size) {
                let insertion = insertion(transaction.get_database_backend(), size);
                while let Some((rows, after)) = rest.split_at_checked(size) {
                    run(transaction, &insertion, rows).await?;
                    rest = after;
                }
            }
        }
        Ok(())
    }
}
