//! Uses of secrets, written behind: many at once, and of many replicas in any order.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbBackend, Statement};

use super::{SecretUse, Store, error::Failure, transaction::Command};
use crate::domain::{Error, Result};

impl Store {
    /// How the database would find the secrets of a batch, in its own words: to see that an index does.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn explain_uses(&self) -> Result<String> {
        let backend = self.reader.get_database_backend();
        self.explain(Statement::from_sql_and_values(backend, add(backend), ["[]".into()])).await
    }

    /// Adds these uses to what is written of their secrets; a secret that is gone by now has none. No secret comes twice.
    ///
    /// Subjects keep their versions and times: a use is no change.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn add_uses(&self, uses: &[SecretUse]) -> Result<()> {
        let rows: Vec<_> = uses
            .iter()
            .map(|one| {
                let count = i64::try_from(one.count).unwrap_or(i64::MAX);
                (one.subject_uid.as_str(), one.slot.to_stored(), one.version, one.last_time.micros(), count)
            })
            .collect();
        // One parameter, whatever their number: a statement that is prepared once.
        let uses = serde_json::to_string(&rows).map_err(Error::internal)?;
        self.run(AddUses { uses }).await
    }
}

struct AddUses {
    /// `[[subject uid, slot, version, last time, count], …]`.
    uses: String,
}

impl Command for AddUses {
    const NAME: &'static str = "add_uses";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let backend = transaction.get_database_backend();
        let add = Statement::from_sql_and_values(backend, add(backend), [self.uses.as_str().into()]);
        transaction.execute_raw(add).await?;
        Ok(())
    }
}

/// By the later time and by addition: whichever replica comes first, the end is the same. On PostgreSQL the rows are
/// locked in one order first, so that none of two that write the same ones waits for the other in a ring.
fn add(backend: DbBackend) -> &'static str {
    if backend == DbBackend::Postgres {
        "WITH used AS (SELECT value ->> 0 AS uid, value ->> 1 AS place, CAST(value ->> 2 AS BIGINT) AS number,
             CAST(value ->> 3 AS BIGINT) AS latest, CAST(value ->> 4 AS BIGINT) AS uses
             FROM jsonb_array_elements(CAST($1 AS JSONB)) AS list(value)),
         locked AS MATERIALIZED (SELECT subject_uid AS uid, slot AS place, version AS number, latest, uses
             FROM secret JOIN used ON subject_uid = uid AND slot = place AND version = number
             ORDER BY subject_uid, slot, version FOR NO KEY UPDATE OF secret)
         UPDATE secret SET use_count = use_count + uses, last_used_time = greatest(last_used_time, latest)
         FROM locked WHERE subject_uid = uid AND slot = place AND version = number"
    } else {
        "UPDATE secret SET use_count = use_count + uses, last_used_time = max(coalesce(last_used_time, latest), latest)
         FROM (SELECT value ->> 0 AS uid, value ->> 1 AS place, value ->> 2 AS number, value ->> 3 AS latest,
             value ->> 4 AS uses FROM json_each($1))
         WHERE subject_uid = uid AND slot = place AND version = number"
    }
}
