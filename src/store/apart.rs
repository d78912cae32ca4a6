//! What planted bugs (`crate::planted`) do after a transaction that belongs into it.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sea_orm::{DatabaseConnection, TransactionTrait as _};

use super::{
    Reply, audit,
    error::Failure,
    key_rotation::{SecretPlace, commands::put_ciphertext},
    reply,
    secret::revoke,
};
use crate::{
    audit::Record,
    domain::{Slot, Timestamp, Uid},
};

/// What is still to be written.
static SET_ASIDE: Mutex<Vec<Part>> = Mutex::new(Vec::new());

/// A part of a change.
pub(super) enum Part {
    Record(Box<Record>),
    Reply(Box<Reply>, Timestamp),
    Wiping(Uid, Slot, Timestamp),
    Resealing(SecretPlace, Vec<u8>),
}

/// Leaves a part out of its transaction.
pub(super) fn set_aside(part: Part) {
    SET_ASIDE.lock().unwrap_or_else(PoisonError::into_inner).push(part);
}

/// Writes what was left out, a little later.
pub(super) async fn write(writer: &DatabaseConnection) -> Result<(), Failure> {
    if SET_ASIDE.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        return Ok(());
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    let parts = mem::take(&mut *SET_ASIDE.lock().unwrap_or_else(PoisonError::into_inner));
    let transaction = writer.begin().await?;
    for part in parts {
        match part {
            Part::Record(record) => audit::insert(&transaction, &record).await?,
            Part::Reply(kept, now) => reply::insert(&transaction, &kept, now).await?,
            Part::Resealing(place, payload) => put_ciphertext(&transaction, &place, payload).await?,
            Part::Wiping(subject, slot, time) => revoke(&transaction, &subject, &slot, time).await?,
        }
    }
    Ok(transaction.commit().await?)
}
