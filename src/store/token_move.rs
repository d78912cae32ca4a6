//! API tokens that move from an older digest key to the one that makes digests now.

use sea_orm::{ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _, sea_query::Expr};

use super::{
    Store,
    entity::{Payload, secret},
    error::Failure,
    transaction::Command,
};
use crate::domain::{Result, Secret, Stage};

/// A token's digest under another key.
#[derive(Clone, Debug)]
pub struct TokenMove {
    /// As it was read.
    pub old: Secret,
    /// The key that made the new digest.
    pub key_id: String,
    /// The new digest.
    pub digest: Vec<u8>,
    /// What finds the token from then on, where that follows from the key too; its slot keeps its name.
    pub lookup_key: Option<String>,
}

impl Store {
    /// Moves a token that is still as it was read, and not void. False where it is not.
    ///
    /// # Errors
    /// Already exists, where another token is found so; unavailable; outcome unknown.
    pub async fn move_token(&self, moved: TokenMove) -> Result<bool> {
        self.run(moved).await
    }
}

impl Command for TokenMove {
    const NAME: &'static str = "move_token";
    const BOOKKEEPING: bool = true;
    type Output = bool;

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        let mut update = secret::Entity::update_many()
            .col_expr(secret::Column::Payload, Expr::value(self.digest.clone()))
            .col_expr(secret::Column::KeyId, Expr::value(self.key_id.as_str()));
        if let Some(lookup_key) = &self.lookup_key {
            update = update.col_expr(secret::Column::LookupKey, Expr::value(lookup_key.as_str()));
        }
        let done = update
            .filter(secret::Column::SubjectUid.eq(self.old.subject_uid.as_str()))
            .filter(secret::Column::Slot.eq(self.old.slot.to_stored()))
            .filter(secret::Column::Version.eq(self.old.version))
            .filter(secret::Column::Stage.ne(Stage::Revoked.as_str()))
            .filter(secret::Column::KeyId.eq(self.old.key_id.as_str()))
            .filter(secret::Column::Payload.eq(Payload(self.old.payload.clone())))
            .exec(transaction)
            .await?;
        Ok(done.rows_affected == 1)
    }
}
