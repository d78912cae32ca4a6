//! Earlier answers, found by whose request they answered. One is added in the transaction of the change that it tells of,
//! before the change itself: of two that have the same request id the database lets one go on, and the other, whose
//! transaction has done nothing yet, ends there.

use std::sync::Arc;

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};

use super::{
    Reply, Store,
    entity::{
        Payload,
        reply::{Column, Entity, Model},
    },
    error::Failure,
    transaction::Command,
};
use crate::{
    domain::{Error, Reason, Result, Timestamp, Uid},
    planted::{Bug, is_planted},
};

/// Expired answers that are deleted at once, so that nobody waits long for the writer.
const SWEEP: u64 = 1_000;

impl Store {
    /// This store, but what it changes next is done together with the keeping of an answer, both or neither: one
    /// command, whichever it is. It fails with [`Reason::RequestIdReused`] where the caller had an answer under this
    /// request id before.
    #[must_use]
    pub fn answering(&self, reply: Reply, now: Timestamp) -> Self {
        Self { reply: Some(Arc::new((reply, now))), ..self.clone() }
    }

    /// Keeps the answer alone, where there was nothing to change.
    ///
    /// # Errors
    /// Request id reused; unavailable; outcome unknown.
    pub async fn keep_reply(&self) -> Result<()> {
        self.run(Nothing).await
    }

    /// An earlier answer, unless its time is over.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn reply(
        &self,
        tenant_uid: &Uid,
        caller: &str,
        request_id: &str,
        now: Timestamp,
    ) -> Result<Option<Reply>> {
        let key = (tenant_uid.to_string(), caller.to_owned(), request_id.to_owned());
        let found = Entity::find_by_id(key).filter(Column::ExpireTime.gt(now.micros())).one(&self.reader).await?;
        Ok(found.map(|row| Reply {
            tenant_uid: Uid::from_stored(row.tenant_uid),
            caller: row.caller,
            request_id: row.request_id,
            digest: row.request_digest.0,
            answer: row.answer.0,
            key_id: row.key_id,
            expire_time: Timestamp::from_micros(row.expire_time),
        }))
    }

    /// Deletes the answers whose time is over, and returns how many.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn delete_expired_replies(&self, now: Timestamp) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let expired = Entity::find()
                .select_only()
                .column(Column::ExpireTime)
                .filter(Column::ExpireTime.lte(now.micros()))
                .order_by_asc(Column::ExpireTime);
            let last = expired.clone().offset(SWEEP - 1).limit(1).into_tuple::<i64>().one(&self.reader).await?;
            // Mostly there is nothing, and then nothing is written.
            if last.is_none() && expired.limit(1).into_tuple::<i64>().one(&self.reader).await?.is_none() {
                return Ok(deleted);
            }
            deleted += self.run(Sweep { until: last.unwrap_or(now.micros()) }).await?;
        }
    }
}

/// Keeps an answer, in the place of one whose time is over where there is such a one.
pub(super) async fn insert(transaction: &DatabaseTransaction, reply: &Reply, now: Timestamp) -> Result<(), Failure> {
    let row = Model {
        tenant_uid: reply.tenant_uid.to_string(),
        caller: reply.caller.clone(),
        request_id: reply.request_id.clone(),
        request_digest: Payload(reply.digest.clone()),
        answer: Payload(reply.answer.clone()),
        key_id: reply.key_id.clone(),
        expire_time: reply.expire_time.micros(),
    };
    let over = OnConflict::columns([Column::TenantUid, Column::Caller, Column::RequestId])
        .update_columns([Column::RequestDigest, Column::Answer, Column::KeyId, Column::ExpireTime])
        .action_and_where(Expr::col((Entity, Column::ExpireTime)).lte(now.micros()))
        .to_owned();
    let kept = Entity::insert(row.into_active_model()).on_conflict(over).exec_without_returning(transaction).await?;
    if kept == 1 || is_planted(Bug::RequestIdInMemory) {
        Ok(())
    } else {
        Err(Error::new(Reason::RequestIdReused, "an earlier request of the caller has this request_id").into())
    }
}

struct Nothing;

impl Command for Nothing {
    const NAME: &'static str = "keep_reply";
    type Output = ();

    async fn apply(&self, _transaction: &DatabaseTransaction) -> Result<(), Failure> {
        Ok(())
    }
}

struct Sweep {
    until: i64,
}

impl Command for Sweep {
    const NAME: &'static str = "delete_expired_replies";
    type Output = u64;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let deleted = Entity::delete_many().filter(Column::ExpireTime.lte(self.until)).exec(transaction).await?;
        Ok(deleted.rows_affected)
    }
}
