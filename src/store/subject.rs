//! Subjects: found within their tenant, added, and changed together with their secrets.

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, Condition, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, JoinType,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, RelationTrait as _, Select,
    sea_query::{Expr, ExprTrait as _, Func, SimpleExpr},
};

use super::{
    SecretChange, Store, SubjectChange,
    apart::{Part, set_aside},
    audit::append,
    entity::{secret, subject},
    error::{Failure, concurrent_change, unavailable, unreadable},
    failure::forgive,
    lifecycle::{insert_labels, leave_administrator, replace_labels},
    secret::{insert, read as read_secret, revoke, step, succeed, void},
    transaction::Command,
};
use crate::{
    audit::Record,
    domain::{
        Attributes, Error, ResourceId, Result, Secret, Slot, Stage, Subject, SubjectKind, SubjectRef, SubjectState,
        Timestamp, Uid,
    },
    planted::{Bug, is_planted},
};

/// How long reading subjects may take: the server ends the statement sooner.
const READ_TIMEOUT: Duration = Duration::from_secs(9);

impl Store {
    /// A subject of a tenant.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn subject(
        &self,
        tenant_uid: &Uid,
        kind: SubjectKind,
        reference: &SubjectRef,
    ) -> Result<Option<Subject>> {
        find(tenant_uid, kind, reference).one(&self.reader).await?.map(read).transpose()
    }

    /// A subject with its secrets in the slots `password` and `settings` that are not revoked, newest first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn subject_with_secrets(
        &self,
        tenant_uid: &Uid,
        kind: SubjectKind,
        reference: &SubjectRef,
    ) -> Result<Option<(Subject, Vec<Secret>)>> {
        Ok(self.with_secrets(find(tenant_uid, kind, reference)).await?.pop())
    }

    /// The same of all that have one of these ids, or one of these logins where `by_login` is set. For a name that is
    /// nobody's there is another subject of the kind, where there is any: so a look-up costs the same whether or not it
    /// finds whom it asks for, and whoever asks has to compare the names.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn subjects_with_secrets(
        &self,
        tenant_uid: &Uid,
        kind: SubjectKind,
        by_login: bool,
        names: Vec<&str>,
    ) -> Result<Vec<(Subject, Vec<Secret>)>> {
        let column = if by_login { subject::Column::Login } else { subject::Column::ExternalId };
        let uid =
            |found: Select<subject::Entity>| Expr::from(found.select_only().column(subject::Column::Uid).into_query());
        let other = of_kind(tenant_uid, kind).order_by_asc(subject::Column::ExternalId).limit(1);
        let uids = names.into_iter().map(|name| {
            let asked = named(tenant_uid, kind, column.eq(name));
            Expr::from(Func::coalesce([uid(asked), uid(other.clone())]))
        });
        // By nothing but uids: told the tenant as well, a planner may walk through everybody in it.
        self.with_secrets(
            subject::Entity::find().filter(Expr::col((subject::Entity, subject::Column::Uid)).is_in(uids)),
        )
        .await
    }

    async fn with_secrets(&self, subjects: Select<subject::Entity>) -> Result<Vec<(Subject, Vec<Secret>)>> {
        // One statement, so that subject and secrets are of one moment.
        let live = secret::Relation::Subject.def().rev().on_condition(|_subject, secret| {
            Condition::all().add(Expr::col((secret.clone(), secret::Column::Stage)).ne(Stage::Revoked.as_str())).add(
                Expr::col((secret, secret::Column::Slot))
                    .is_in([Slot::Password.to_stored(), Slot::Settings.to_stored()]),
            )
        });
        let rows = subjects
            .join(JoinType::LeftJoin, live)
            .select_also(secret::Entity)
            .order_by_desc(secret::Column::Version)
            .all(&self.reader);
        // Whoever waits for it may have gone; what gathers the questions of all has not, and would wait with it.
        let rows = tokio::time::timeout(READ_TIMEOUT, rows)
            .await
            .map_err(|_elapsed| unavailable("subjects were not read in time".to_owned()))??;

        let mut found = Vec::<(Subject, Vec<Secret>)>::new();
        for (row, secret) in rows {
            let secret = secret.map(read_secret).transpose()?;
            match found.iter_mut().find(|(subject, _)| subject.uid.as_str() == row.uid) {
                Some((_, secrets)) => secrets.extend(secret),
                None => found.push((read(row)?, secret.into_iter().collect())),
            }
        }
        Ok(found)
    }

    /// Adds a subject and its secrets.
    ///
    /// # Errors
    /// Already exists (metadata `field`: `id`, `login`, or `lookup_key` where a token or API key is taken);
    /// unavailable; outcome unknown.
    pub async fn insert_subject(&self, subject: Subject, secrets: Vec<Secret>, record: Record) -> Result<()> {
        let attributes = serde_json::to_string(&subject.attributes).map_err(Error::internal)?;
        self.run(InsertSubject { subject, attributes, secrets, record }).await
    }

    /// Changes a subject and returns it as it is then.
    ///
    /// # Errors
    /// Concurrent change, where the subject has another version by now, or a secret another stage; already exists (metadata `field`: `login`, or
    /// `lookup_key` where a token or API key is taken); unavailable; outcome unknown.
    pub async fn change_subject(&self, change: SubjectChange, record: Record) -> Result<Subject> {
        self.run(ChangeSubject { change, record }).await
    }
}

fn find(tenant_uid: &Uid, kind: SubjectKind, reference: &SubjectRef) -> Select<subject::Entity> {
    let name = match reference {
        SubjectRef::Id(id) => subject::Column::ExternalId.eq(id.as_str()),
        SubjectRef::Login(login) => subject::Column::Login.eq(login.as_str()),
    };
    named(tenant_uid, kind, name)
}

fn named(tenant_uid: &Uid, kind: SubjectKind, name: SimpleExpr) -> Select<subject::Entity> {
    of_kind(tenant_uid, kind).filter(name)
}

fn of_kind(tenant_uid: &Uid, kind: SubjectKind) -> Select<subject::Entity> {
    subject::Entity::find()
        .filter(subject::Column::TenantUid.eq(tenant_uid.as_str()))
        .filter(subject::Column::Kind.eq(kind.as_str()))
}

/// The subject in a row.
pub(super) fn read(row: subject::Model) -> Result<Subject> {
    let broken = |column| unreadable("subject", &row.uid, column);
    let kind = SubjectKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind).ok_or_else(|| broken("kind"))?;
    let state =
        SubjectState::ALL.into_iter().find(|state| state.as_str() == row.state).ok_or_else(|| broken("state"))?;
    let id = ResourceId::parse(&row.external_id).ok_or_else(|| broken("external_id"))?;
    // The parser's own words are not passed on: they may quote a value.
    let attributes = serde_json::from_str(&row.attributes).map_err(|_quotes| broken("attributes"))?;
    Ok(Subject {
        uid: Uid::from_stored(row.uid),
        tenant_uid: Uid::from_stored(row.tenant_uid),
        kind,
        id,
        login: row.login,
        state,
        attributes,
        version: row.version,
        create_time: Timestamp::from_micros(row.create_time),
        update_time: Timestamp::from_micros(row.update_time),
    })
}

/// What people call it, where an index finds it.
fn display_name(attributes: &Attributes) -> Option<String> {
    (!attributes.display_name.is_empty()).then(|| attributes.display_name.clone())
}

/// The row of a new subject, whose attributes were written already.
pub(super) fn row(subject: &Subject, attributes: String) -> subject::Model {
    subject::Model {
        uid: subject.uid.to_string(),
        tenant_uid: subject.tenant_uid.to_string(),
        kind: subject.kind.as_str().to_owned(),
        external_id: subject.id.to_string(),
        login: subject.login.clone(),
        state: subject.state.as_str().to_owned(),
        attributes,
        version: subject.version,
        create_time: subject.create_time.micros(),
        update_time: subject.update_time.micros(),
        display_name: display_name(&subject.attributes),
    }
}

/// A new subject with its attributes as they are kept.
pub(super) struct InsertSubject {
    pub(super) subject: Subject,
    pub(super) attributes: String,
    pub(super) secrets: Vec<Secret>,
    pub(super) record: Record,
}

impl Command for InsertSubject {
    const NAME: &'static str = "insert_subject";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let subject = &self.subject;
        let row = row(subject, self.attributes.clone());
        subject::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;
        insert_labels(transaction, subject, &subject.attributes.labels).await?;
        for secret in &self.secrets {
            insert(transaction, &subject.uid, secret).await?;
        }
        append(transaction, &self.record).await
    }
}

pub(super) struct ChangeSubject {
    pub(super) change: SubjectChange,
    pub(super) record: Record,
}

impl Command for ChangeSubject {
    const NAME: &'static str = "change_subject";
    type Output = Subject;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Subject, Failure> {
        let SubjectChange { subject_uid, expected_version, login, state, attributes, secrets, time, .. } = &self.change;
        let mut update = subject::Entity::update_many()
            .col_expr(subject::Column::Version, Expr::col(subject::Column::Version).add(1))
            .col_expr(subject::Column::UpdateTime, Expr::value(time.micros()))
            .filter(subject::Column::Uid.eq(subject_uid.as_str()));
        if !is_planted(Bug::EtagInMemory) {
            update = update.filter(subject::Column::Version.eq(*expected_version));
        }
        if let Some(login) = login {
            update = update.col_expr(subject::Column::Login, Expr::value(login.as_str()));
        }
        if let Some(state) = state {
            update = update.col_expr(subject::Column::State, Expr::value(state.as_str()));
        }
        if let Some(attributes) = attributes {
            let json = serde_json::to_string(attributes).map_err(Error::internal)?;
            update = update
                .col_expr(subject::Column::Attributes, Expr::value(json))
                .col_expr(subject::Column::DisplayName, Expr::value(display_name(attributes)));
        }
        if self.change.leaves_administrator {
            leave_administrator(transaction, subject_uid).await?;
        }
        if update.exec(transaction).await?.rows_affected == 0 {
            return Err(concurrent_change().into());
        }

        for change in secrets {
            if *change.slot() == Slot::Password && change.is_in_force() {
                forgive(transaction, subject_uid).await?;
            }
            match change {
                SecretChange::Replace(secret) | SecretChange::Renew(secret) => {
                    revoke(transaction, subject_uid, &secret.slot, *time).await?;
                    insert(transaction, subject_uid, secret).await?;
                }
                SecretChange::Succeed { secret, kept } => {
                    succeed(transaction, subject_uid, secret, *kept, *time).await?;
                }
                SecretChange::Revoke(slot) if is_planted(Bug::SettingsApart) => {
                    set_aside(Part::Wiping(subject_uid.clone(), slot.clone(), *time));
                }
                SecretChange::Revoke(slot) => revoke(transaction, subject_uid, slot, *time).await?,
                SecretChange::Add(secret) => insert(transaction, subject_uid, secret).await?,
                SecretChange::Move(slot, moved) => step(transaction, subject_uid, slot, moved, *time).await?,
                SecretChange::Void { slot, kept } => void(transaction, subject_uid, slot, *kept, *time).await?,
            }
        }
        if self.change.forgives {
            forgive(transaction, subject_uid).await?;
        }
        append(transaction, &self.record).await?;

        let row = subject::Entity::find_by_id(subject_uid.as_str()).one(transaction).await?;
        let changed = row.map(read).transpose()?.ok_or_else(concurrent_change)?;
        if let Some(attributes) = attributes {
            replace_labels(transaction, &changed, &attributes.labels).await?;
        }
        Ok(changed)
    }
}
