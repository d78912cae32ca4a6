//! What a rotation writes: conditional statements, each of a row that is still as it was read.

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    sea_query::{Expr, OnConflict},
};

use super::{KeyRotation, Renewed, ReplyKey, Resealed, Rewrapped, SecretPlace};
use crate::{
    audit::Record,
    domain::{Error, Result, Timestamp},
    planted::{Bug, is_planted},
    store::{
        apart::{Part, set_aside},
        audit::append,
        data_key::insert_primary_of,
        entity::{Payload, data_key, key_rotation, reply, secret},
        error::{Failure, concurrent_change},
        transaction::Command,
    },
};

/// How often two that begin at once try to begin the same one.
const ATTEMPTS: u32 = 5;

pub(super) struct Begin {
    pub(super) wraps: bool,
    pub(super) renews: bool,
    pub(super) time: Timestamp,
    pub(super) record: Record,
}

impl Command for Begin {
    const NAME: &'static str = "begin_key_rotation";
    const BOOKKEEPING: bool = true;
    type Output = KeyRotation;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<KeyRotation, Failure> {
        for _ in 0..ATTEMPTS {
            let last =
                key_rotation::Entity::find().order_by_desc(key_rotation::Column::Number).one(transaction).await?;
            if let Some(row) = last.as_ref().filter(|row| row.end_time.is_none()) {
                let number = row.number;
                let (wraps, renews) = (row.wraps || self.wraps, row.renews || self.renews);
                let going_on = key_rotation::Entity::update_many()
                    .col_expr(key_rotation::Column::Wraps, Expr::value(wraps))
                    .col_expr(key_rotation::Column::Renews, Expr::value(renews))
                    .filter(key_rotation::Column::Number.eq(number))
                    .filter(key_rotation::Column::EndTime.is_null())
                    .filter(key_rotation::Column::Wraps.eq(row.wraps))
                    .filter(key_rotation::Column::Renews.eq(row.renews))
                    .exec(transaction)
                    .await?;
                if going_on.rows_affected == 1 {
                    return Ok(KeyRotation { number, wraps, renews });
                }
                continue;
            }
            let number = last.map_or(0, |row| row.number) + 1;
            let (wraps, renews) = (self.wraps, self.renews);
            let row = key_rotation::Model { number, wraps, renews, begin_time: self.time.micros(), end_time: None };
            let taken = OnConflict::column(key_rotation::Column::Number).do_nothing().to_owned();
            let begun = key_rotation::Entity::insert(row.into_active_model())
                .on_conflict(taken)
                .exec_without_returning(transaction)
                .await?;
            if begun == 1 {
                append(transaction, &self.record).await?;
                return Ok(KeyRotation { number, wraps, renews });
            }
        }
        Err(concurrent_change().into())
    }
}

pub(super) struct End {
    pub(super) number: i64,
    pub(super) time: Timestamp,
    pub(super) record: Record,
}

impl Command for End {
    const NAME: &'static str = "end_key_rotation";
    const BOOKKEEPING: bool = true;
    type Output = bool;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        let ended = key_rotation::Entity::update_many()
            .col_expr(key_rotation::Column::EndTime, Expr::value(Some(self.time.micros())))
            .filter(key_rotation::Column::Number.eq(self.number))
            .filter(key_rotation::Column::EndTime.is_null())
            .exec(transaction)
            .await?
            .rows_affected
            == 1;
        if ended {
            append(transaction, &self.record).await?;
        }
        Ok(ended)
    }
}

pub(super) struct Rewrap(pub(super) Vec<Rewrapped>);

impl Command for Rewrap {
    const NAME: &'static str = "rewrap";
    const BOOKKEEPING: bool = true;
    type Output = u64;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let mut moved = 0;
        for Rewrapped { old, new } in &self.0 {
            let done = data_key::Entity::update_many()
                .col_expr(data_key::Column::WrappingKeyId, Expr::value(new.wrapping_key_id.as_str()))
                .col_expr(data_key::Column::Ciphertext, Expr::value(new.ciphertext.clone()))
                .filter(data_key::Column::Uid.eq(old.id.as_str()))
                .filter(data_key::Column::WrappingKeyId.eq(old.wrapping_key_id.as_str()))
                .filter(data_key::Column::Ciphertext.eq(Payload(old.ciphertext.clone())))
                .exec(transaction)
                .await?;
            moved += done.rows_affected;
        }
        Ok(moved)
    }
}

pub(super) struct Renew {
    pub(super) keys: Vec<Renewed>,
    pub(super) rotation: i64,
    pub(super) time: Timestamp,
}

impl Command for Renew {
    const NAME: &'static str = "renew_data_keys";
    const BOOKKEEPING: bool = true;
    type Output = u64;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let mut renewed = 0;
        for Renewed { old, new } in &self.keys {
            if new.id == *old {
                return Err(Error::internal("a data key in its own place").into());
            }
            let stepped_down = data_key::Entity::update_many()
                .col_expr(data_key::Column::IsPrimary, Expr::value(false))
                .filter(data_key::Column::Uid.eq(old.as_str()))
                .filter(data_key::Column::IsPrimary.eq(true))
                .filter(data_key::Column::Rotation.lt(self.rotation))
                .exec(transaction)
                .await?;
            if stepped_down.rows_affected == 1 {
                insert_primary_of(transaction, new, self.rotation, self.time).await?;
                renewed += 1;
            }
        }
        Ok(renewed)
    }
}

pub(super) struct ResealSecrets(pub(super) Vec<Resealed<SecretPlace>>);

impl Command for ResealSecrets {
    const NAME: &'static str = "reseal_secrets";
    const BOOKKEEPING: bool = true;
    type Output = u64;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let mut moved = 0;
        for Resealed { old, key_id, payload } in &self.0 {
            let (subject, _, slot, version) = &old.place;
            let ciphertext = if is_planted(Bug::ResealApart) {
                set_aside(Part::Resealing(old.place.clone(), payload.clone()));
                &old.payload
            } else {
                payload
            };
            let done = secret::Entity::update_many()
                .col_expr(secret::Column::Payload, Expr::value(ciphertext.clone()))
                .col_expr(secret::Column::KeyId, Expr::value(key_id.as_str()))
                .filter(secret::Column::SubjectUid.eq(subject.as_str()))
                .filter(secret::Column::Slot.eq(slot.as_str()))
                .filter(secret::Column::Version.eq(*version))
                .filter(secret::Column::KeyId.eq(old.key_id.as_str()))
                .filter(secret::Column::Payload.eq(Payload(old.payload.clone())))
                .exec(transaction)
                .await?;
            moved += done.rows_affected;
        }
        Ok(moved)
    }
}

/// What a planted bug leaves out of that.
pub(in crate::store) async fn put_ciphertext(
    transaction: &DatabaseTransaction,
    (subject, _, slot, version): &SecretPlace,
    payload: Vec<u8>,
) -> Result<(), Failure> {
    secret::Entity::update_many()
        .col_expr(secret::Column::Payload, Expr::value(payload))
        .filter(secret::Column::SubjectUid.eq(subject.as_str()))
        .filter(secret::Column::Slot.eq(slot.as_str()))
        .filter(secret::Column::Version.eq(*version))
        .filter(secret::Column::Payload.ne(Payload(Vec::new())))
        .exec(transaction)
        .await?;
    Ok(())
}

pub(super) struct ResealReplies(pub(super) Vec<Resealed<ReplyKey>>);

impl Command for ResealReplies {
    const NAME: &'static str = "reseal_replies";
    const BOOKKEEPING: bool = true;
    type Output = u64;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let mut moved = 0;
        for Resealed { old, key_id, payload } in &self.0 {
            let done = reply::Entity::update_many()
                .col_expr(reply::Column::Answer, Expr::value(payload.clone()))
                .col_expr(reply::Column::KeyId, Expr::value(key_id.as_str()))
                .filter(reply::Column::TenantUid.eq(old.tenant_uid.as_str()))
                .filter(reply::Column::Caller.eq(old.place.caller.as_str()))
                .filter(reply::Column::RequestId.eq(old.place.request_id.as_str()))
                .filter(reply::Column::KeyId.eq(old.key_id.as_str()))
                .filter(reply::Column::Answer.eq(Payload(old.payload.clone())))
                .exec(transaction)
                .await?;
            moved += done.rows_affected;
        }
        Ok(moved)
    }
}
