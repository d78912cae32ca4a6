//! Which installation this is, and how far it has come.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, Statement,
    sea_query::{Expr, OnConflict},
};

use super::{
    Store,
    audit::append,
    entity::{
        installation::{Column, Entity, Model, ONLY},
        tenant,
    },
    error::{Failure, concurrent_change},
    transaction::Command,
};
use crate::{
    audit::{Outcome, Record, Target, Wait},
    domain::{Epoch, Error, Installation, Result, Timestamp, Uid, tenant::SYSTEM_TENANT},
};

impl Store {
    /// The installation; the one with this id from now on, where there was none.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn find_or_make_installation(&self, uid: Uid, now: Timestamp) -> Result<Installation> {
        if let Some(found) = self.installation().await? {
            return Ok(found);
        }
        self.run(Make { uid, now }).await?;
        self.installation().await?.ok_or_else(|| Error::internal("the installation was made and is not there"))
    }

    /// The installation, where there is one.
    ///
    /// # Errors
    /// Unavailable, also where the table is not there yet.
    pub async fn installation(&self) -> Result<Option<Installation>> {
        Ok(Entity::find_by_id(ONLY).one(&self.reader).await?.map(read))
    }

    /// Raises the mark by one, unless the database is another one than this mark was seen in, or behind it; returns the new
    /// one, or `None` where it is.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn raise_epoch(&self, seen: &Installation) -> Result<Option<Epoch>> {
        self.run(Raise { seen: seen.clone() }).await
    }

    /// Goes on from a database that is older than what was seen: with a mark that is past both, and a record of it.
    ///
    /// # Errors
    /// Concurrent change, where somebody else raised the mark meanwhile; unavailable; outcome unknown.
    pub async fn accept_rollback(&self, rollback: Rollback) -> Result<Installation> {
        self.run(rollback).await
    }
}

/// An older database, or another one, that somebody goes on with.
#[derive(Clone, Debug)]
pub struct Rollback {
    /// What was seen before.
    pub seen: Installation,
    /// When.
    pub time: Timestamp,
    /// The id of the record of it.
    pub record_uid: Uid,
}

pub(super) fn read(row: Model) -> Installation {
    Installation { uid: Uid::from_stored(row.uid), epoch: Epoch::from_stored(row.epoch) }
}

struct Make {
    uid: Uid,
    now: Timestamp,
}

impl Command for Make {
    const NAME: &'static str = "make_installation";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        make(transaction, &self.uid, self.now).await
    }
}

async fn make(transaction: &DatabaseTransaction, uid: &Uid, now: Timestamp) -> Result<(), Failure> {
    let row = Model { number: ONLY, uid: uid.to_string(), epoch: Epoch::FIRST.number(), create_time: now.micros() };
    // Of several that start at once the first one's stays.
    let first = OnConflict::column(Column::Number).do_nothing().to_owned();
    Entity::insert(row.into_active_model()).on_conflict(first).exec_without_returning(transaction).await?;
    Ok(())
}

struct Raise {
    seen: Installation,
}

impl Command for Raise {
    const NAME: &'static str = "raise_epoch";
    const BOOKKEEPING: bool = true;
    const COUNTS: bool = false;
    type Output = Option<Epoch>;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Option<Epoch>, Failure> {
        let backend = transaction.get_database_backend();
        let raise = "UPDATE installation SET epoch = epoch + 1 WHERE number = $1 AND uid = $2 AND epoch >= $3 \
                     RETURNING epoch";
        let values = [ONLY.into(), self.seen.uid.as_str().into(), self.seen.epoch.number().into()];
        let row = transaction.query_one_raw(Statement::from_sql_and_values(backend, raise, values)).await?;
        let number: Option<i64> = row.map(|row| row.try_get("", "epoch")).transpose()?;
        Ok(number.map(Epoch::from_stored))
    }
}

impl Command for Rollback {
    const NAME: &'static str = "accept_rollback";
    type Output = Installation;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Installation, Failure> {
        // A copy from before there were marks goes on as what was seen.
        make(transaction, &self.seen.uid, self.time).await?;
        let found = Entity::find_by_id(ONLY).one(transaction).await?.map(read);
        let found = found.ok_or_else(|| Error::internal("the installation was made and is not there"))?;
        let epoch = found.epoch.max(self.seen.epoch).next_line();
        let changed = Entity::update_many()
            .col_expr(Column::Epoch, Expr::value(epoch.number()))
            .filter(Column::Number.eq(ONLY))
            .filter(Column::Epoch.eq(found.epoch.number()))
            .exec(transaction)
            .await?
            .rows_affected;
        if changed == 0 {
            return Err(concurrent_change().into());
        }
        self.append_record(transaction, &found).await?;
        Ok(Installation { epoch, ..found })
    }
}

impl Rollback {
    /// In the space of the tenant that holds the platform's callers; where there is none there is nobody to read it.
    async fn append_record(&self, transaction: &DatabaseTransaction, found: &Installation) -> Result<(), Failure> {
        let system = tenant::Entity::find().filter(tenant::Column::ExternalId.eq(SYSTEM_TENANT));
        let Some(system) = system.one(transaction).await? else { return Ok(()) };
        let Installation { uid, epoch } = &self.seen;
        let record = Record {
            uid: self.record_uid.clone(),
            tenant_uid: Uid::from_stored(system.uid),
            time: self.time,
            actor: "rekey restore".to_owned(),
            action: "acceptRollback",
            target: Target::Tenant(SYSTEM_TENANT.to_owned()),
            outcome: Outcome::Succeeded,
            reason: None,
            request_id: String::new(),
            detail: format!(
                "went on from epoch {} of installation {}, where epoch {epoch} of {uid} had been seen",
                found.epoch, found.uid,
            ),
            wait: Wait::begin(),
        };
        append(transaction, &record).await
    }
}
