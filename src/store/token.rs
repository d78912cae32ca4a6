//! What tokens need to be told by the database: whose tokens an issuer's are, and which signatures were used.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, JoinType,
    QueryFilter as _, QuerySelect as _, RelationTrait as _, sea_query::OnConflict,
};

use super::{
    Store,
    entity::{tenant, token_issuer, used_signature},
    error::{Failure, outcome_unknown},
    transaction::Command,
};
use crate::domain::{Result, Tenant, Timestamp, Uid, tenant::TokenIssuer};

/// One in so many signatures takes those with it whose time is over.
const SWEEPS: &str = "0";

impl Store {
    /// The tenant whose users' tokens have this `iss`.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tenant_of_token_issuer(&self, issuer: &str) -> Result<Option<Tenant>> {
        let row = tenant::Entity::find()
            .join_rev(JoinType::InnerJoin, token_issuer::Relation::Tenant.def())
            .filter(token_issuer::Column::Issuer.eq(issuer))
            .one(&self.reader)
            .await?;
        Ok(self.with_aliases(row.into_iter().collect()).await?.pop())
    }

    /// Takes note that a signature is used, until `expire_time`, and returns when it was used first: now, for one that
    /// was not. Of many at once, on whatever replica, one is the first.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn use_signature(&self, digest: String, now: Timestamp, expire_time: Timestamp) -> Result<Timestamp> {
        self.run(UseSignature { digest, now, expire_time }).await
    }
}

/// Makes this the one issuer of the tenant's own tokens, or none.
pub(super) async fn keep_issuer(
    transaction: &DatabaseTransaction,
    tenant_uid: &Uid,
    issuer: Option<&TokenIssuer>,
) -> Result<(), Failure> {
    let others = token_issuer::Entity::delete_many().filter(token_issuer::Column::TenantUid.eq(tenant_uid.as_str()));
    others.exec(transaction).await?;
    if let Some(issuer) = issuer {
        let row =
            token_issuer::ActiveModel { issuer: Set(issuer.issuer.clone()), tenant_uid: Set(tenant_uid.to_string()) };
        token_issuer::Entity::insert(row).exec_without_returning(transaction).await?;
    }
    Ok(())
}

struct UseSignature {
    digest: String,
    now: Timestamp,
    expire_time: Timestamp,
}

impl Command for UseSignature {
    const NAME: &'static str = "use_signature";
    const BOOKKEEPING: bool = true;
    type Output = Timestamp;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<Timestamp, Failure> {
        let row = used_signature::Model {
            digest: self.digest.clone(),
            first_time: self.now.micros(),
            expire_time: self.expire_time.micros(),
        };
        let known = OnConflict::column(used_signature::Column::Digest).do_nothing().to_owned();
        let inserted = used_signature::Entity::insert(row.into_active_model())
            .on_conflict(known)
            .exec_without_returning(transaction)
            .await?;
        if inserted > 0 {
            if self.digest.ends_with(SWEEPS) {
                let over = used_signature::Column::ExpireTime.lt(self.now.micros());
                used_signature::Entity::delete_many().filter(over).exec(transaction).await?;
            }
            return Ok(self.now);
        }
        let first = used_signature::Entity::find_by_id(self.digest.as_str()).one(transaction).await?;
        // Swept between the two: so late that it is none of today's. Asked again, it is the first.
        let first = first.ok_or_else(|| outcome_unknown("a signature was swept while it was looked at".to_owned()))?;
        Ok(Timestamp::from_micros(first.first_time))
    }
}
