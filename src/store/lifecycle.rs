//! The ends of subjects and tenants, with everything that hangs on them; and what guards the last administrator.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbBackend, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, QueryTrait as _,
    sea_query::{Expr, ExprTrait as _, SelectStatement},
};

use super::{
    Store,
    audit::append,
    entity::{data_key, failure, reply, secret, subject, subject_label, tenant},
    error::{Failure, concurrent_change},
    failure::forgive,
    subject::read,
    tenant::delete_names,
    transaction::Command,
};
use crate::{
    audit::Record,
    domain::{Error, Permission, Reason, Result, Subject, SubjectKind, SubjectState, Uid, subject::Labels},
};

/// A subject to be deleted while it has `expected_version`.
#[derive(Clone, Debug)]
pub struct SubjectDeletion {
    /// Which.
    pub subject_uid: Uid,
    /// The version it was decided on.
    pub expected_version: i64,
    /// Whether another caller in use must be left in the tenant that holds `*`.
    pub leaves_administrator: bool,
}

/// A tenant to be deleted while it has `expected_version`.
#[derive(Clone, Debug)]
pub struct TenantDeletion {
    /// Which.
    pub tenant_uid: Uid,
    /// The version it was decided on.
    pub expected_version: i64,
    /// Whether its subjects go too; else there must be none.
    pub with_subjects: bool,
}

impl Store {
    /// Deletes a subject with its secrets, labels and failed attempts.
    ///
    /// # Errors
    /// Concurrent change, where the subject has another version by now; indispensable; unavailable; outcome unknown.
    pub async fn delete_subject(&self, deletion: SubjectDeletion, record: Record) -> Result<()> {
        self.run(DeleteSubject { deletion, record }).await
    }

    /// Deletes a tenant with everything in it but its audit records.
    ///
    /// # Errors
    /// Concurrent change, where the tenant has another version by now; tenant not empty; unavailable; outcome unknown.
    pub async fn delete_tenant(&self, deletion: TenantDeletion, record: Record) -> Result<()> {
        self.run(DeleteTenant { deletion, record }).await
    }

    /// Forgives failed attempts at a subject that is left as it is.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn forgive(&self, subject_uid: Uid, record: Record) -> Result<()> {
        self.run(Forgive { subject_uid, record }).await
    }
}

/// Adds labels of a subject that has none.
pub(super) async fn insert_labels(
    transaction: &DatabaseTransaction,
    subject: &Subject,
    labels: &Labels,
) -> Result<(), Failure> {
    let rows = labels.iter().map(|(name, value)| subject_label::ActiveModel {
        subject_uid: Set(subject.uid.to_string()),
        name: Set(name.clone()),
        tenant_uid: Set(subject.tenant_uid.to_string()),
        kind: Set(subject.kind.as_str().to_owned()),
        value: Set(value.clone()),
    });
    subject_label::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}

/// Puts labels in the place of those that a subject has.
pub(super) async fn replace_labels(
    transaction: &DatabaseTransaction,
    subject: &Subject,
    labels: &Labels,
) -> Result<(), Failure> {
    delete_labels(transaction, &subject.uid).await?;
    insert_labels(transaction, subject, labels).await
}

async fn delete_labels(transaction: &DatabaseTransaction, subject_uid: &Uid) -> Result<(), Failure> {
    let of_subject = subject_label::Column::SubjectUid.eq(subject_uid.as_str());
    subject_label::Entity::delete_many().filter(of_subject).exec(transaction).await?;
    Ok(())
}

/// Refuses to go on where no caller in use but this one holds `*` in its tenant. Whoever asks holds the tenant until the
/// end of the transaction, so that two who stand in for each other do not both go.
pub(super) async fn leave_administrator(transaction: &DatabaseTransaction, subject_uid: &Uid) -> Result<(), Failure> {
    let row = subject::Entity::find_by_id(subject_uid.as_str()).one(transaction).await?;
    let row = row.ok_or_else(concurrent_change)?;
    tenant::Entity::find_by_id(row.tenant_uid.as_str()).lock_exclusive().one(transaction).await?;
    let others = subject::Entity::find()
        .filter(subject::Column::TenantUid.eq(row.tenant_uid))
        .filter(subject::Column::Kind.eq(SubjectKind::Caller.as_str()))
        .filter(subject::Column::State.eq(SubjectState::Active.as_str()))
        .filter(subject::Column::Uid.ne(subject_uid.as_str()))
        // Fewer rows to read; which of them hold it is told by their JSON.
        .filter(subject::Column::Attributes.contains("\"*\""))
        .all(transaction)
        .await?;
    for other in others {
        if read(other)?.attributes.permissions.iter().any(|held| held == Permission::EVERYTHING.as_str()) {
            return Ok(());
        }
    }
    let message = "this is the last platform caller in use that may do everything";
    Err(Error::new(Reason::Indispensable, message).into())
}

struct Forgive {
    subject_uid: Uid,
    record: Record,
}

impl Command for Forgive {
    const NAME: &'static str = "forgive";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        forgive(transaction, &self.subject_uid).await?;
        append(transaction, &self.record).await
    }
}

struct DeleteSubject {
    deletion: SubjectDeletion,
    record: Record,
}

impl Command for DeleteSubject {
    const NAME: &'static str = "delete_subject";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let SubjectDeletion { subject_uid, expected_version, leaves_administrator } = &self.deletion;
        if *leaves_administrator {
            leave_administrator(transaction, subject_uid).await?;
        }
        // Claimed before anything of it goes: the row itself can only go last.
        let claimed = subject::Entity::update_many()
            .col_expr(subject::Column::Version, Expr::col(subject::Column::Version).add(1))
            .filter(subject::Column::Uid.eq(subject_uid.as_str()))
            .filter(subject::Column::Version.eq(*expected_version))
            .exec(transaction)
            .await?;
        if claimed.rows_affected == 0 {
            return Err(concurrent_change().into());
        }
        delete_labels(transaction, subject_uid).await?;
        let secrets = secret::Column::SubjectUid.eq(subject_uid.as_str());
        secret::Entity::delete_many().filter(secrets).exec(transaction).await?;
        let failures = failure::Column::SubjectKey.eq(subject_uid.as_str());
        failure::Entity::delete_many().filter(failures).exec(transaction).await?;
        subject::Entity::delete_by_id(subject_uid.as_str()).exec(transaction).await?;
        append(transaction, &self.record).await
    }
}

struct DeleteTenant {
    deletion: TenantDeletion,
    record: Record,
}

impl Command for DeleteTenant {
    const NAME: &'static str = "delete_tenant";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let TenantDeletion { tenant_uid: uid, expected_version, with_subjects } = &self.deletion;
        if transaction.get_database_backend() == DbBackend::Postgres {
            // Millions of rows may go.
            transaction.execute_unprepared("SET LOCAL statement_timeout = 0").await?;
        }
        // Held so that nothing new can hang on it.
        let held = tenant::Entity::find_by_id(uid.as_str()).lock_exclusive().one(transaction).await?;
        if held.is_none_or(|row| row.version != *expected_version) {
            return Err(concurrent_change().into());
        }
        let of_tenant = || subject::Column::TenantUid.eq(uid.as_str());
        if !with_subjects {
            let any = subject::Entity::find().filter(of_tenant()).limit(1).one(transaction).await?;
            if any.is_some() {
                let message = "the tenant has users, devices, integrations or callers";
                return Err(Error::new(Reason::TenantNotEmpty, message).into());
            }
        }
        let subjects = || -> SelectStatement {
            subject::Entity::find().select_only().column(subject::Column::Uid).filter(of_tenant()).into_query()
        };
        let labels = subject_label::Column::SubjectUid.in_subquery(subjects());
        subject_label::Entity::delete_many().filter(labels).exec(transaction).await?;
        let secrets = secret::Column::SubjectUid.in_subquery(subjects());
        secret::Entity::delete_many().filter(secrets).exec(transaction).await?;
        let failures = failure::Column::SubjectKey.in_subquery(subjects());
        failure::Entity::delete_many().filter(failures).exec(transaction).await?;
        subject::Entity::delete_many().filter(of_tenant()).exec(transaction).await?;
        let replies = reply::Column::TenantUid.eq(uid.as_str());
        reply::Entity::delete_many().filter(replies).exec(transaction).await?;
        let keys = data_key::Column::TenantUid.eq(uid.as_str());
        data_key::Entity::delete_many().filter(keys).exec(transaction).await?;
        delete_names(transaction, uid).await?;
        tenant::Entity::delete_by_id(uid.as_str()).exec(transaction).await?;
        append(transaction, &self.record).await
    }
}
