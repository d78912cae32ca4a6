//! Many subjects at once, with what their passwords are kept as; and the census over those.

use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _,
    JoinType, QueryFilter as _, QueryOrder as _, QuerySelect as _, RelationTrait as _, Statement, sea_query::Expr,
};

use super::{
    Import, Replacement, Store,
    audit::append,
    entity::{secret, subject},
    error::{Failure, concurrent_change},
    secret::{insert, revoke, row as secret_row},
    subject::{read, row as subject_row},
    transaction::Command,
};
use crate::domain::{Error, Material, Result, Slot, Stage, Subject, SubjectKind, Uid};

/// Ways to keep a password that the census of all tenants tells apart.
const SCHEMES: u32 = 1_000;

impl Store {
    /// The subjects of a tenant that have one of these ids, or one of these logins.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn subjects_named(
        &self,
        tenant_uid: &Uid,
        kind: SubjectKind,
        ids: Vec<&str>,
        logins: Vec<&str>,
    ) -> Result<Vec<Subject>> {
        let mut found: Vec<Subject> = Vec::new();
        // Two look-ups: an OR over two indexes is a scan for some planners.
        for named in [subject::Column::ExternalId.is_in(ids), subject::Column::Login.is_in(logins)] {
            let rows = subject::Entity::find()
                .filter(subject::Column::TenantUid.eq(tenant_uid.as_str()))
                .filter(subject::Column::Kind.eq(kind.as_str()))
                .filter(named)
                .all(&self.reader)
                .await?;
            for row in rows {
                found.push(read(row)?);
            }
        }
        found.sort_by(|one, other| one.uid.cmp(&other.uid));
        found.dedup_by(|one, other| one.uid == other.uid);
        Ok(found)
    }

    /// Adds and replaces subjects, all of them or none.
    ///
    /// # Errors
    /// Concurrent change, or already exists, where somebody else was faster; unavailable; outcome unknown.
    pub async fn import(&self, import: Import) -> Result<()> {
        self.run(import).await
    }

    /// The same for all tenants together: for the metrics, so it reads an index that holds nothing else.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn whole_password_census(&self) -> Result<Vec<(Option<String>, i64)>> {
        // Values, not parameters: by those no engine would know that the index is meant.
        let (material, stage) = (Material::Verifier.as_str(), Stage::Current.as_str());
        let query = format!(
            "SELECT scheme, count(*) AS number FROM secret WHERE material = '{material}' AND stage = '{stage}'
             GROUP BY scheme ORDER BY number DESC, scheme LIMIT {SCHEMES}"
        );
        let statement = Statement::from_string(self.reader.get_database_backend(), query);
        let rows = self.reader.query_all_raw(statement).await?;
        Ok(rows
            .iter()
            .map(|row| Ok((row.try_get("", "scheme")?, row.try_get("", "number")?)))
            .collect::<Result<_, Failure>>()?)
    }

    /// How many users' passwords are kept in which way, the most frequent first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn password_census(&self, tenant_uid: &Uid) -> Result<Vec<(Option<String>, i64)>> {
        let count = || secret::Column::Slot.count();
        let counts = secret::Entity::find()
            .select_only()
            .column(secret::Column::Scheme)
            .column_as(count(), "count")
            .join(JoinType::InnerJoin, secret::Relation::Subject.def())
            .filter(
                Condition::all()
                    .add(subject::Column::TenantUid.eq(tenant_uid.as_str()))
                    .add(subject::Column::Kind.eq(SubjectKind::User.as_str()))
                    .add(secret::Column::Slot.eq(Slot::Password.to_stored()))
                    .add(secret::Column::Stage.eq(Stage::Current.as_str()))
                    .add(secret::Column::Material.eq(Material::Verifier.as_str())),
            )
            .group_by(secret::Column::Scheme)
            .order_by_desc(count())
            .order_by_asc(secret::Column::Scheme)
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(counts)
    }
}

impl Command for Import {
    const NAME: &'static str = "import";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let mut subjects = Vec::with_capacity(self.created.len());
        let mut secrets = Vec::with_capacity(self.created.len());
        for (subject, secret) in &self.created {
            let attributes = serde_json::to_string(&subject.attributes).map_err(Error::internal)?;
            subjects.push(subject_row(subject, attributes).into_active_model());
            secrets.extend(secret.as_ref().map(|secret| secret_row(secret).into_active_model()));
        }
        if !subjects.is_empty() {
            subject::Entity::insert_many(subjects).exec_without_returning(transaction).await?;
        }
        if !secrets.is_empty() {
            secret::Entity::insert_many(secrets).exec_without_returning(transaction).await?;
        }
        for replacement in &self.replaced {
            replace(transaction, replacement).await?;
        }
        for record in &self.records {
            append(transaction, record).await?;
        }
        Ok(())
    }
}

async fn replace(transaction: &DatabaseTransaction, replacement: &Replacement) -> Result<(), Failure> {
    let Replacement { subject, expected_version, secret } = replacement;
    let changed = subject::Entity::update_many()
        .col_expr(subject::Column::Login, Expr::value(subject.login.clone()))
        .col_expr(subject::Column::State, Expr::value(subject.state.as_str()))
        .col_expr(subject::Column::Version, Expr::value(subject.version))
        .col_expr(subject::Column::UpdateTime, Expr::value(subject.update_time.micros()))
        .filter(subject::Column::Uid.eq(subject.uid.as_str()))
        .filter(subject::Column::Version.eq(*expected_version))
        .exec(transaction)
        .await?
        .rows_affected;
    if changed == 0 {
        return Err(concurrent_change().into());
    }
    if let Some(secret) = secret {
        revoke(transaction, &subject.uid, &secret.slot, subject.update_time).await?;
        insert(transaction, &subject.uid, secret).await?;
    }
    Ok(())
}
