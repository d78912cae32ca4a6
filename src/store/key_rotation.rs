//! Rotations: which is under way, what is still wrapped or sealed under older keys, and moving it.
//!
//! Nothing here depends on who works: each move is of a row that is still as it was read, so that any number of processes
//! do it at once, and one that ends in the middle leaves every row whole, under the one key or under the other.

pub(super) mod commands;

use std::fmt;

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, JoinType, QueryFilter as _, QueryOrder as _, QuerySelect as _, RelationDef,
    sea_query::Expr,
};

use self::commands::{Begin, End, Renew, ResealReplies, ResealSecrets, Rewrap};
use super::{
    Store, data_key as kept,
    entity::{Payload, data_key, reply, secret},
};
use crate::{
    audit::Record,
    domain::{Result, Slot, Timestamp, Uid, WrappedKey},
};

/// Subject, slot, version, data key, ciphertext, tenant.
type SealedRow = (String, String, i64, String, Payload, String);

/// A rotation that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRotation {
    /// From 1 on.
    pub number: i64,
    /// Whether data keys are wrapped anew.
    pub wraps: bool,
    /// Whether tenants get new data keys.
    pub renews: bool,
}

/// A data key that another wrapping key takes over.
#[derive(Clone, Debug)]
pub struct Rewrapped {
    /// As it was read.
    pub old: WrappedKey,
    /// As it will be.
    pub new: WrappedKey,
}

/// A tenant's new data key.
#[derive(Clone, Debug)]
pub struct Renewed {
    /// The one that sealed until now.
    pub old: Uid,
    /// The one that will.
    pub new: WrappedKey,
}

/// Something sealed, as it was read.
#[derive(Clone)]
pub struct Sealed<P> {
    /// Whose tenant.
    pub tenant_uid: Uid,
    /// Where it belongs.
    pub place: P,
    /// The data key that seals it.
    pub key_id: String,
    /// The ciphertext.
    pub payload: Vec<u8>,
}

/// Which version of which secret; none of a slot that a later program made.
pub type SecretPlace = (Uid, Option<Slot>, String, i64);

/// Which earlier answer.
#[derive(Clone)]
pub struct ReplyKey {
    /// Whom it was given to.
    pub caller: String,
    /// The id of the request it answered.
    pub request_id: String,
    /// The keyed digest of that request.
    pub digest: Vec<u8>,
    /// Until when it is given again.
    pub expire_time: Timestamp,
}

/// Without the digest.
impl fmt::Debug for ReplyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyKey").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// Without place and ciphertext.
impl<P> fmt::Debug for Sealed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// What another data key takes over.
pub struct Resealed<P> {
    /// As it was read.
    pub old: Sealed<P>,
    /// The data key that seals it then.
    pub key_id: String,
    /// The ciphertext that it will be.
    pub payload: Vec<u8>,
}

/// Without the ciphertext.
impl<P> fmt::Debug for Resealed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resealed").field("old", &self.old).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Store {
    /// Goes on with the rotation that is under way, with this added to it, or begins one, which is recorded.
    ///
    /// # Errors
    /// Unavailable; outcome unknown; concurrent change.
    pub async fn begin_key_rotation(
        &self,
        wraps: bool,
        renews: bool,
        time: Timestamp,
        record: Record,
    ) -> Result<KeyRotation> {
        self.run(Begin { wraps, renews, time, record }).await
    }

    /// Ends a rotation, which is recorded. False where it had ended.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn end_key_rotation(&self, number: i64, time: Timestamp, record: Record) -> Result<bool> {
        self.run(End { number, time, record }).await
    }

    /// Data keys after this one that this wrapping key wraps, in the order of their ids; at most so many.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn data_keys_wrapped_by(&self, wrapping_key_id: &str, after: &str, most: u64) -> Result<Vec<WrappedKey>> {
        let rows = data_key::Entity::find()
            .filter(data_key::Column::WrappingKeyId.eq(wrapping_key_id))
            .filter(data_key::Column::Uid.gt(after))
            .order_by_asc(data_key::Column::Uid)
            .limit(most)
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().map(kept::read).collect())
    }

    /// Data keys that seal, of tenants after this one, and were made before a rotation; at most so many.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn data_keys_before(&self, rotation: i64, after: &str, most: u64) -> Result<Vec<WrappedKey>> {
        let rows = data_key::Entity::find()
            .filter(Expr::cust("is_primary = TRUE"))
            .filter(data_key::Column::Rotation.lt(rotation))
            .filter(data_key::Column::TenantUid.gt(after))
            .order_by_asc(data_key::Column::TenantUid)
            .limit(most)
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().map(kept::read).collect())
    }

    /// Wraps data keys anew that are still as they were; returns how many.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn rewrap(&self, keys: Vec<Rewrapped>) -> Result<u64> {
        self.run(Rewrap(keys)).await
    }

    /// Has new data keys seal for their tenants, where the old ones still do; returns how many.
    ///
    /// # Errors
    /// Unavailable; outcome unknown; concurrent change, where a tenant is deleted at the same time.
    pub async fn renew_data_keys(&self, keys: Vec<Renewed>, rotation: i64, time: Timestamp) -> Result<u64> {
        self.run(Renew { keys, rotation, time }).await
    }

    /// Secrets under data keys that no longer seal, of the subjects after this one: those among so many rows, and the
    /// last subject that was looked at; `None` where there is no other.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn secrets_under_older_keys(
        &self,
        after: &str,
        window: u64,
    ) -> Result<(Vec<Sealed<SecretPlace>>, Option<String>)> {
        let subject = secret::Column::SubjectUid;
        let following = secret::Entity::find().filter(subject.gt(after));
        let ids = following.clone().select_only().column(subject).order_by_asc(subject);
        let end: Option<String> = ids.offset(window.saturating_sub(1)).limit(1).into_tuple().one(&self.reader).await?;
        let mut query = following;
        if let Some(end) = &end {
            query = query.filter(subject.lte(end.as_str()));
        }
        let key: RelationDef =
            secret::Entity::belongs_to(data_key::Entity).from(secret::Column::KeyId).to(data_key::Column::Uid).into();
        let rows: Vec<SealedRow> = query
            .select_only()
            .columns([subject, secret::Column::Slot, secret::Column::Version, secret::Column::KeyId])
            .column(secret::Column::Payload)
            .column(data_key::Column::TenantUid)
            .join(JoinType::InnerJoin, key)
            .filter(data_key::Column::IsPrimary.eq(false))
            .filter(Expr::cust("length(payload) > 0"))
            .order_by_asc(subject)
            .into_tuple()
            .all(&self.reader)
            .await?;
        let read = |(subject, slot, version, key_id, payload, tenant): SealedRow| Sealed {
            tenant_uid: Uid::from_stored(tenant),
            place: (Uid::from_stored(subject), Slot::from_stored(&slot), slot, version),
            key_id,
            payload: payload.0,
        };
        Ok((rows.into_iter().map(read).collect(), end))
    }

    /// Earlier answers under data keys that no longer seal, which end after this time: those among so many rows, and
    /// when the last ends that was looked at; `None` where there is no other.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn replies_under_older_keys(
        &self,
        after: Timestamp,
        window: u64,
    ) -> Result<(Vec<Sealed<ReplyKey>>, Option<Timestamp>)> {
        let time = reply::Column::ExpireTime;
        let following = reply::Entity::find().filter(time.gt(after.micros()));
        let times = following.clone().select_only().column(time).order_by_asc(time);
        let end: Option<i64> = times.offset(window.saturating_sub(1)).limit(1).into_tuple().one(&self.reader).await?;
        let mut query = following;
        if let Some(end) = end {
            query = query.filter(time.lte(end));
        }
        let key: RelationDef =
            reply::Entity::belongs_to(data_key::Entity).from(reply::Column::KeyId).to(data_key::Column::Uid).into();
        let rows = query
            .join(JoinType::InnerJoin, key)
            .filter(data_key::Column::IsPrimary.eq(false))
            .order_by_asc(time)
            .all(&self.reader)
            .await?;
        let read = |row: reply::Model| Sealed {
            tenant_uid: Uid::from_stored(row.tenant_uid),
            place: ReplyKey {
                caller: row.caller,
                request_id: row.request_id,
                digest: row.request_digest.0,
                expire_time: Timestamp::from_micros(row.expire_time),
            },
            key_id: row.key_id,
            payload: row.answer.0,
        };
        Ok((rows.into_iter().map(read).collect(), end.map(Timestamp::from_micros)))
    }

    /// Puts secrets under other data keys that are still as they were read; returns how many. Their subjects' versions and
    /// times stay.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn reseal_secrets(&self, secrets: Vec<Resealed<SecretPlace>>) -> Result<u64> {
        self.run(ResealSecrets(secrets)).await
    }

    /// The same for earlier answers.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn reseal_replies(&self, replies: Vec<Resealed<ReplyKey>>) -> Result<u64> {
        self.run(ResealReplies(replies)).await
    }
}
