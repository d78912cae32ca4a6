//! Versions of secrets: added, moved from stage to stage, revoked and wiped, and their verifiers renewed.

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, Select, sea_query::Expr,
};

use super::{
    Store,
    audit::append,
    entity::{Payload, secret, subject},
    error::{Failure, concurrent_change, unreadable},
    transaction::Command,
};
use crate::{
    audit::Record,
    domain::{Error, Material, Result, Secret, Slot, Stage, Timestamp, Uid, rotation::Move},
    planted::{Bug, is_planted},
};

impl Store {
    /// Replaces the payload of a current verifier by one of the same password, while the subject has
    /// `expected_version`; the subject's version and times stay. False where somebody was faster.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn rehash(&self, secret: Secret, expected_version: i64, record: Record) -> Result<bool> {
        self.run(Rehash { secret, expected_version, record }).await
    }

    /// The last passwords of a user that are void and still kept, the newest first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn earlier_passwords(&self, subject_uid: &Uid, most: u64) -> Result<Vec<Secret>> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let rows = earlier(subject_uid).limit(most).all(&self.reader).await?;
        rows.into_iter().filter(|row| !row.payload.0.is_empty()).map(read).collect()
    }

    /// Marks a password in force as one that its owner must change; the subject's version and times stay. False where it
    /// is no longer in force, or marked already.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn require_change(&self, secret: &Secret, record: Record) -> Result<bool> {
        let Secret { subject_uid, slot, version, .. } = secret.clone();
        self.run(RequireChange { subject_uid, slot, version, record }).await
    }
}

/// A user's void verifiers, the newest first.
fn earlier(subject_uid: &Uid) -> Select<secret::Entity> {
    secret::Entity::find()
        .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
        .filter(secret::Column::Slot.eq(Slot::Password.to_stored()))
        .filter(secret::Column::Stage.eq(Stage::Revoked.as_str()))
        .filter(secret::Column::Material.eq(Material::Verifier.as_str()))
        .order_by_desc(secret::Column::Version)
}

/// Adds a version of a secret of this subject.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    subject_uid: &Uid,
    secret: &Secret,
) -> Result<(), Failure> {
    if secret.subject_uid != *subject_uid {
        return Err(Error::internal(format!("a secret of another subject than {subject_uid}")).into());
    }
    secret::Entity::insert(row(secret).into_active_model()).exec_without_returning(transaction).await?;
    Ok(())
}

/// The row of a new secret.
pub(super) fn row(secret: &Secret) -> secret::Model {
    secret::Model {
        subject_uid: secret.subject_uid.to_string(),
        slot: secret.slot.to_stored(),
        version: secret.version,
        stage: if is_planted(Bug::StageRenamed) { "in_force" } else { secret.stage.as_str() }.to_owned(),
        material: secret.material.as_str().to_owned(),
        payload: Payload(secret.payload.clone()),
        key_id: secret.key_id.clone(),
        lookup_key: secret.lookup_key.clone(),
        read_only: secret.read_only,
        must_change: secret.must_change,
        create_time: secret.create_time.micros(),
        stage_time: secret.stage_time.micros(),
        expire_time: secret.expire_time.map(Timestamp::micros),
        last_used_time: secret.last_used_time.map(Timestamp::micros),
        use_count: secret.use_count,
        scheme: secret.scheme.clone(),
        own_expire_time: secret.own_expire_time.map(Timestamp::micros),
        notice_time: None,
    }
}

/// Moves one version from the stage it must be in to another, of whose end nobody was told yet. Revoked, it is wiped.
pub(super) async fn step(
    transaction: &DatabaseTransaction,
    subject_uid: &Uid,
    slot: &Slot,
    moved: &Move,
    time: Timestamp,
) -> Result<(), Failure> {
    let mut update = secret::Entity::update_many()
        .col_expr(secret::Column::Stage, Expr::value(moved.to.as_str()))
        .col_expr(secret::Column::StageTime, Expr::value(time.micros()))
        .col_expr(secret::Column::ExpireTime, Expr::value(moved.expire_time.map(Timestamp::micros)))
        .col_expr(secret::Column::OwnExpireTime, Expr::value(moved.own_expire_time.map(Timestamp::micros)))
        .col_expr(secret::Column::NoticeTime, Expr::value(None::<i64>))
        .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
        .filter(secret::Column::Slot.eq(slot.to_stored()))
        .filter(secret::Column::Version.eq(moved.version))
        .filter(secret::Column::Stage.eq(moved.from.as_str()));
    if moved.to == Stage::Revoked {
        update = update.col_expr(secret::Column::Payload, Expr::value(Vec::<u8>::new()));
    }
    match update.exec(transaction).await?.rows_affected {
        1 => Ok(()),
        _ => Err(concurrent_change().into()),
    }
}

/// Revokes and wipes whatever is live in the slot.
pub(super) async fn revoke(
    transaction: &DatabaseTransaction,
    subject_uid: &Uid,
    slot: &Slot,
    time: Timestamp,
) -> Result<(), Failure> {
    secret::Entity::update_many()
        .col_expr(secret::Column::Stage, Expr::value(Stage::Revoked.as_str()))
        .col_expr(secret::Column::Payload, Expr::value(Vec::<u8>::new()))
        .col_expr(secret::Column::StageTime, Expr::value(time.micros()))
        .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
        .filter(secret::Column::Slot.eq(slot.to_stored()))
        .filter(secret::Column::Stage.ne(Stage::Revoked.as_str()))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Replaces the password in the slot, of which the last `kept` stay sealed, void as they are.
pub(super) async fn succeed(
    transaction: &DatabaseTransaction,
    subject_uid: &Uid,
    secret: &Secret,
    kept: u64,
    time: Timestamp,
) -> Result<(), Failure> {
    void(transaction, subject_uid, &secret.slot, kept, time).await?;
    insert(transaction, subject_uid, secret).await
}

/// Makes the password in the slot void; the last `kept` stay sealed.
pub(super) async fn void(
    transaction: &DatabaseTransaction,
    subject_uid: &Uid,
    slot: &Slot,
    kept: u64,
    time: Timestamp,
) -> Result<(), Failure> {
    if kept == 0 {
        revoke(transaction, subject_uid, slot, time).await?;
    } else {
        secret::Entity::update_many()
            .col_expr(secret::Column::Stage, Expr::value(Stage::Revoked.as_str()))
            .col_expr(secret::Column::StageTime, Expr::value(time.micros()))
            .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
            .filter(secret::Column::Slot.eq(slot.to_stored()))
            .filter(secret::Column::Stage.ne(Stage::Revoked.as_str()))
            .exec(transaction)
            .await?;
    }
    // What the policy no longer asks for goes, also where it asked for more before.
    let oldest = earlier(subject_uid)
        .select_only()
        .column(secret::Column::Version)
        .offset(kept)
        .limit(1)
        .into_tuple::<i64>()
        .one(transaction)
        .await?;
    if let Some(oldest) = oldest {
        secret::Entity::update_many()
            .col_expr(secret::Column::Payload, Expr::value(Vec::<u8>::new()))
            .filter(secret::Column::SubjectUid.eq(subject_uid.as_str()))
            .filter(secret::Column::Slot.eq(slot.to_stored()))
            .filter(secret::Column::Stage.eq(Stage::Revoked.as_str()))
            .filter(secret::Column::Version.lte(oldest))
            .exec(transaction)
            .await?;
    }
    Ok(())
}

/// The secret in a row.
pub(super) fn read(row: secret::Model) -> Result<Secret> {
    let broken = |column| unreadable("secret", &row.subject_uid, column);
    let slot = Slot::from_stored(&row.slot).ok_or_else(|| broken("slot"))?;
    let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == row.stage).ok_or_else(|| broken("stage"))?;
    let material = Material::ALL
        .into_iter()
        .find(|material| material.as_str() == row.material)
        .ok_or_else(|| broken("material"))?;
    Ok(Secret {
        subject_uid: Uid::from_stored(row.subject_uid),
        slot,
        version: row.version,
        stage,
        material,
        payload: row.payload.0,
        scheme: row.scheme,
        key_id: row.key_id,
        read_only: row.read_only,
        must_change: row.must_change,
        create_time: Timestamp::from_micros(row.create_time),
        stage_time: Timestamp::from_micros(row.stage_time),
        expire_time: row.expire_time.map(Timestamp::from_micros),
        own_expire_time: row.own_expire_time.map(Timestamp::from_micros),
        lookup_key: row.lookup_key,
        last_used_time: row.last_used_time.map(Timestamp::from_micros),
        use_count: row.use_count,
    })
}

struct Rehash {
    secret: Secret,
    expected_version: i64,
    record: Record,
}

impl Command for Rehash {
    const NAME: &'static str = "rehash";
    const BOOKKEEPING: bool = true;
    type Output = bool;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        let secret = &self.secret;
        let unchanged = subject::Entity::find()
            .select_only()
            .column(subject::Column::Uid)
            .filter(subject::Column::Uid.eq(secret.subject_uid.as_str()))
            .filter(subject::Column::Version.eq(self.expected_version));
        let replaced = secret::Entity::update_many()
            .col_expr(secret::Column::Payload, Expr::value(secret.payload.clone()))
            .col_expr(secret::Column::KeyId, Expr::value(secret.key_id.as_str()))
            .col_expr(secret::Column::Scheme, Expr::value(secret.scheme.clone()))
            .filter(secret::Column::SubjectUid.in_subquery(unchanged.into_query()))
            .filter(secret::Column::Slot.eq(secret.slot.to_stored()))
            .filter(secret::Column::Version.eq(secret.version))
            .filter(secret::Column::Stage.eq(Stage::Current.as_str()))
            .exec(transaction)
            .await?
            .rows_affected
            == 1;
        if replaced {
            append(transaction, &self.record).await?;
        }
        Ok(replaced)
    }
}

struct RequireChange {
    subject_uid: Uid,
    slot: Slot,
    version: i64,
    record: Record,
}

impl Command for RequireChange {
    const NAME: &'static str = "require_change";
    type Output = bool;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        let marked = secret::Entity::update_many()
            .col_expr(secret::Column::MustChange, Expr::value(true))
            .filter(secret::Column::SubjectUid.eq(self.subject_uid.as_str()))
            .filter(secret::Column::Slot.eq(self.slot.to_stored()))
            .filter(secret::Column::Version.eq(self.version))
            .filter(secret::Column::Stage.eq(Stage::Current.as_str()))
            .filter(secret::Column::MustChange.eq(false))
            .exec(transaction)
            .await?
            .rows_affected
            == 1;
        if marked {
            append(transaction, &self.record).await?;
        }
        Ok(marked)
    }
}
