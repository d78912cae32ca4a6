//! Writing records: in the transaction of the act, so that there is neither without the other.

use sea_orm::{DatabaseTransaction, EntityTrait as _, IntoActiveModel as _};

use super::{Store, entity::audit, error::Failure, transaction::Command};
use crate::{
    audit::{Record, Target},
    domain::{Reason, Result},
};

impl Store {
    /// Writes records of what changed nothing, all of them or none.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn append_records(&self, records: Vec<Record>) -> Result<()> {
        self.run(AppendRecords { records }).await
    }
}

/// Adds a record.
pub(super) async fn append(transaction: &DatabaseTransaction, record: &Record) -> Result<(), Failure> {
    audit::Entity::insert(row(record)).exec_without_returning(transaction).await?;
    Ok(())
}

fn row(record: &Record) -> audit::ActiveModel {
    let (target_kind, target_id) = match &record.target {
        Target::Tenant(id) => (Some("tenant"), Some(id.clone())),
        Target::Subject(kind, id) => (Some(kind.as_str()), Some(id.clone())),
        Target::None => (None, None),
    };
    let row = audit::Model {
        uid: record.uid.to_string(),
        tenant_uid: record.tenant_uid.to_string(),
        time: record.time.micros(),
        actor: record.actor.clone(),
        action: record.action.to_owned(),
        target_kind: target_kind.map(str::to_owned),
        target_id,
        outcome: record.outcome.as_str().to_owned(),
        reason: record.reason.map(reason_name),
        request_id: record.request_id.clone(),
        detail: record.detail.clone(),
    };
    row.into_active_model()
}

/// The reason as the API spells it: `CURRENT_PASSWORD_MISMATCH`.
fn reason_name(reason: Reason) -> String {
    let mut name = String::new();
    for letter in format!("{reason:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// Rows of one statement, the most first: of few sizes, so that each is prepared once.
const ROWS: [usize; 4] = [64, 16, 4, 1];

struct AppendRecords {
    records: Vec<Record>,
}

impl Command for AppendRecords {
    const NAME: &'static str = "append_records";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let mut rest = self.records.as_slice();
        for size in ROWS {
            while let Some((rows, after)) = rest.split_at_checked(size) {
                audit::Entity::insert_many(rows.iter().map(row)).exec_without_returning(transaction).await?;
                rest = after;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_kept_in_the_spelling_of_the_api() {
        assert_eq!(reason_name(Reason::Internal), "INTERNAL");
        assert_eq!(reason_name(Reason::CurrentPasswordMismatch), "CURRENT_PASSWORD_MISMATCH");
    }
}
