//! Tenants: found by whatever a request calls them, and added with all that they need to work.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, JoinType,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, RelationTrait as _, Select, sea_query::Expr,
};

use super::{
    Store,
    audit::append,
    data_key::insert_primary,
    entity::{jwt_issuer, tenant, tenant_alias, tenant_label},
    error::{Failure, concurrent_change, unreadable},
    subject::InsertSubject,
    token::keep_issuer,
    transaction::Command,
};
use crate::{
    audit::Record,
    domain::{
        Dialect, Error, ResourceId, Result, Secret, Subject, SubjectState, Tenant, TenantRef, Timestamp, Uid,
        WrappedKey,
        tenant::{Alias, alias_name},
    },
};

impl Store {
    /// A tenant by how a request names it; `own` is what `-` stands for.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tenant(&self, reference: &TenantRef, own: &Uid) -> Result<Option<Tenant>> {
        let query = match reference {
            TenantRef::Id(id) => tenant::Entity::find().filter(tenant::Column::ExternalId.eq(id.as_str())),
            TenantRef::Own => tenant::Entity::find().filter(tenant::Column::Uid.eq(own.as_str())),
            TenantRef::Alias(alias) => tenant::Entity::find()
                .join_rev(JoinType::InnerJoin, tenant_alias::Relation::Tenant.def())
                .filter(tenant_alias::Column::Dialect.eq(alias.dialect.as_str()))
                .filter(tenant_alias::Column::Name.eq(alias.name.as_str())),
        };
        Ok(self.tenants(query).await?.pop())
    }

    /// The tenants that believe this `iss`.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tenants_of_issuer(&self, issuer: &str) -> Result<Vec<Tenant>> {
        let query = tenant::Entity::find()
            .join_rev(JoinType::InnerJoin, jwt_issuer::Relation::Tenant.def())
            .filter(jwt_issuer::Column::Issuer.eq(issuer))
            .order_by_asc(tenant::Column::ExternalId);
        self.tenants(query).await
    }

    /// Adds a tenant with its aliases, issuers and first data key.
    ///
    /// # Errors
    /// Already exists (metadata `field`: `tenant.tenant_id`, `tenant.aliases` or `tenant.token_issuer.issuer`); unavailable; outcome unknown.
    pub async fn insert_tenant(&self, tenant: Tenant, key: WrappedKey, record: Record) -> Result<()> {
        let settings = serde_json::to_string(&tenant.settings).map_err(Error::internal)?;
        self.run(InsertTenant { tenant, settings, key, record }).await
    }

    /// Adds the first tenant with its data key, and in it the first caller with its credential, all or nothing.
    ///
    /// # Errors
    /// Already exists; unavailable; outcome unknown.
    pub async fn install(
        &self,
        (tenant, key): (Tenant, WrappedKey),
        (caller, credential): (Subject, Secret),
        [of_tenant, of_caller]: [Record; 2],
    ) -> Result<()> {
        let settings = serde_json::to_string(&tenant.settings).map_err(Error::internal)?;
        let attributes = serde_json::to_string(&caller.attributes).map_err(Error::internal)?;
        let tenant = InsertTenant { tenant, settings, key, record: of_tenant };
        let caller = InsertSubject { subject: caller, attributes, secrets: vec![credential], record: of_caller };
        self.run(Install { tenant, caller }).await
    }

    /// Changes a tenant: its settings, aliases and state are what `tenant` has, while it has the version before.
    ///
    /// # Errors
    /// Concurrent change; already exists (metadata `field`: `tenant.aliases`); unavailable; outcome unknown.
    pub async fn change_tenant(&self, tenant: Tenant, record: Record) -> Result<()> {
        let settings = serde_json::to_string(&tenant.settings).map_err(Error::internal)?;
        self.run(ChangeTenant { tenant, settings, record }).await
    }

    pub(super) async fn tenants(&self, query: Select<tenant::Entity>) -> Result<Vec<Tenant>> {
        let rows = query.all(&self.reader).await?;
        self.with_aliases(rows).await
    }

    /// The tenants in these rows, with their aliases in the order they were given.
    pub(super) async fn with_aliases(&self, rows: Vec<tenant::Model>) -> Result<Vec<Tenant>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let aliases = tenant_alias::Entity::find()
            .filter(tenant_alias::Column::TenantUid.is_in(rows.iter().map(|row| row.uid.as_str())))
            .order_by_asc(tenant_alias::Column::Position)
            .all(&self.reader)
            .await?;
        let mut by_tenant = HashMap::<String, Vec<Alias>>::new();
        for row in aliases {
            let alias = Dialect::parse(&row.dialect)
                .zip(alias_name(&row.name))
                .map(|(dialect, name)| Alias { dialect, name })
                .ok_or_else(|| unreadable("tenant_alias", &row.tenant_uid, "dialect or name"))?;
            by_tenant.entry(row.tenant_uid).or_default().push(alias);
        }
        rows.into_iter()
            .map(|row| {
                let aliases = by_tenant.remove(&row.uid).unwrap_or_default();
                read(row, aliases)
            })
            .collect()
    }
}

fn read(row: tenant::Model, aliases: Vec<Alias>) -> Result<Tenant> {
    let id = ResourceId::parse(&row.external_id).ok_or_else(|| unreadable("tenant", &row.uid, "external_id"))?;
    // The parser's own words are not passed on: they may quote a value.
    let settings = serde_json::from_str(&row.settings).map_err(|_quotes| unreadable("tenant", &row.uid, "settings"))?;
    let state = SubjectState::ALL.into_iter().find(|state| state.as_str() == row.state);
    let state = state.ok_or_else(|| unreadable("tenant", &row.uid, "state"))?;
    Ok(Tenant {
        uid: Uid::from_stored(row.uid),
        id,
        aliases,
        settings,
        state,
        version: row.version,
        create_time: Timestamp::from_micros(row.create_time),
        update_time: Timestamp::from_micros(row.update_time),
    })
}

struct InsertTenant {
    tenant: Tenant,
    settings: String,
    key: WrappedKey,
    record: Record,
}

impl Command for InsertTenant {
    const NAME: &'static str = "insert_tenant";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let tenant = &self.tenant;
        let row = tenant::Model {
            uid: tenant.uid.to_string(),
            external_id: tenant.id.to_string(),
            settings: self.settings.clone(),
            version: tenant.version,
            create_time: tenant.create_time.micros(),
            update_time: tenant.update_time.micros(),
            state: tenant.state.as_str().to_owned(),
        };
        tenant::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await?;

        insert_names(transaction, tenant).await?;
        keep_issuer(transaction, &tenant.uid, tenant.settings.token_issuer.as_deref()).await?;
        insert_primary(transaction, &self.key, tenant.create_time).await?;
        append(transaction, &self.record).await
    }
}

/// What of a tenant stands in tables of its own: aliases, issuers, labels.
async fn insert_names(transaction: &DatabaseTransaction, tenant: &Tenant) -> Result<(), Failure> {
    let aliases = (0..).zip(&tenant.aliases).map(|(position, alias)| tenant_alias::ActiveModel {
        dialect: Set(alias.dialect.as_str().to_owned()),
        name: Set(alias.name.clone()),
        tenant_uid: Set(tenant.uid.to_string()),
        position: Set(position),
    });
    tenant_alias::Entity::insert_many(aliases).exec_without_returning(transaction).await?;

    // An issuer may be listed with several keys.
    let issuers: BTreeSet<&str> = tenant.settings.jwt_issuers.iter().map(|known| known.issuer.as_str()).collect();
    let issuers = issuers.into_iter().map(|issuer| jwt_issuer::ActiveModel {
        tenant_uid: Set(tenant.uid.to_string()),
        issuer: Set(issuer.to_owned()),
    });
    jwt_issuer::Entity::insert_many(issuers).exec_without_returning(transaction).await?;

    let labels = tenant.settings.labels.iter().map(|(name, value)| tenant_label::ActiveModel {
        tenant_uid: Set(tenant.uid.to_string()),
        name: Set(name.clone()),
        value: Set(value.clone()),
    });
    tenant_label::Entity::insert_many(labels).exec_without_returning(transaction).await?;
    Ok(())
}

/// Removes the same.
pub(super) async fn delete_names(transaction: &DatabaseTransaction, uid: &Uid) -> Result<(), Failure> {
    let (alias, issuer) = (tenant_alias::Column::TenantUid, jwt_issuer::Column::TenantUid);
    tenant_alias::Entity::delete_many().filter(alias.eq(uid.as_str())).exec(transaction).await?;
    jwt_issuer::Entity::delete_many().filter(issuer.eq(uid.as_str())).exec(transaction).await?;
    let label = tenant_label::Column::TenantUid;
    tenant_label::Entity::delete_many().filter(label.eq(uid.as_str())).exec(transaction).await?;
    Ok(())
}

struct Install {
    tenant: InsertTenant,
    caller: InsertSubject,
}

impl Command for Install {
    const NAME: &'static str = "install";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        self.tenant.apply(transaction).await?;
        self.caller.apply(transaction).await
    }
}

struct ChangeTenant {
    tenant: Tenant,
    settings: String,
    record: Record,
}

impl Command for ChangeTenant {
    const NAME: &'static str = "change_tenant";
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let tenant = &self.tenant;
        let changed = tenant::Entity::update_many()
            .col_expr(tenant::Column::Settings, Expr::value(self.settings.as_str()))
            .col_expr(tenant::Column::State, Expr::value(tenant.state.as_str()))
            .col_expr(tenant::Column::Version, Expr::value(tenant.version))
            .col_expr(tenant::Column::UpdateTime, Expr::value(tenant.update_time.micros()))
            .filter(tenant::Column::Uid.eq(tenant.uid.as_str()))
            .filter(tenant::Column::Version.eq(tenant.version - 1))
            .exec(transaction)
            .await?;
        if changed.rows_affected == 0 {
            return Err(concurrent_change().into());
        }
        delete_names(transaction, &tenant.uid).await?;
        insert_names(transaction, tenant).await?;
        keep_issuer(transaction, &tenant.uid, tenant.settings.token_issuer.as_deref()).await?;
        append(transaction, &self.record).await
    }
}
