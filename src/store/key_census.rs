//! What hangs on which key.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait as _, EntityTrait as _, QueryResult, Statement};

use super::{Store, entity::keyring_key, error::Failure};
use crate::domain::{KeyUse, Material, Result, Stage, Timestamp};

/// What hangs on the keyring's keys, and on data keys that no longer seal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCensus {
    /// By the keys' ids, those that no keyring has among them.
    pub uses: HashMap<String, KeyUse>,
    /// Data keys that seal, one a tenant.
    pub data_keys: u64,
    /// Data keys that no longer seal, and still open.
    pub older_data_keys: u64,
    /// Secrets under those.
    pub older_secrets: u64,
    /// Earlier answers under those, which have not ended.
    pub older_replies: u64,
}

impl KeyCensus {
    fn of(&mut self, id: String) -> &mut KeyUse {
        self.uses.entry(id).or_default()
    }
}

impl Store {
    /// Counts what hangs on each key.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn key_census(&self, now: Timestamp) -> Result<KeyCensus> {
        let mut census = KeyCensus::default();
        let data_keys = "SELECT wrapping_key_id AS id, is_primary, count(*) AS number FROM data_key
                         GROUP BY wrapping_key_id, is_primary";
        for (id, is_primary, number) in self.counts(data_keys.to_owned()).await? {
            *(if is_primary { &mut census.data_keys } else { &mut census.older_data_keys }) += number;
            census.of(id).data_keys += number;
        }
        let secrets = format!(
            "SELECT wrapping_key_id AS id, is_primary, CAST(sum(kept) AS bigint) AS number FROM data_key
             JOIN (SELECT key_id, count(*) AS kept FROM secret
                   WHERE material <> '{}' AND length(payload) > 0 GROUP BY key_id) AS sealed ON sealed.key_id = uid
             GROUP BY wrapping_key_id, is_primary",
            Material::Digest.as_str(),
        );
        for (id, is_primary, number) in self.counts(secrets).await? {
            census.older_secrets += if is_primary { 0 } else { number };
            census.of(id).secrets += number;
        }
        let replies = format!(
            "SELECT wrapping_key_id AS id, is_primary, CAST(sum(kept) AS bigint) AS number FROM data_key
             JOIN (SELECT key_id, count(*) AS kept FROM reply WHERE expire_time > {} GROUP BY key_id) AS sealed
             ON sealed.key_id = uid GROUP BY wrapping_key_id, is_primary",
            now.micros(),
        );
        for (id, is_primary, number) in self.counts(replies).await? {
            census.older_replies += if is_primary { 0 } else { number };
            census.of(id).replies += number;
        }
        let tokens = format!(
            "SELECT key_id AS id, TRUE AS is_primary, count(*) AS number FROM secret
             WHERE material = '{}' AND stage <> '{}' AND (expire_time IS NULL OR expire_time > {}) GROUP BY key_id",
            Material::Digest.as_str(),
            Stage::Revoked.as_str(),
            now.micros(),
        );
        for (id, _, number) in self.counts(tokens).await? {
            census.of(id).tokens += number;
        }
        for row in keyring_key::Entity::find().all(&self.reader).await? {
            census.of(row.id).primary_time = Some(Timestamp::from_micros(row.primary_time));
        }
        Ok(census)
    }

    async fn counts(&self, query: String) -> Result<Vec<(String, bool, u64)>> {
        let statement = Statement::from_string(self.reader.get_database_backend(), query);
        let read = |row: &QueryResult| -> Result<_, Failure> {
            let number: i64 = row.try_get("", "number")?;
            Ok((row.try_get("", "id")?, row.try_get("", "is_primary")?, u64::try_from(number).unwrap_or_default()))
        };
        let rows = self.reader.query_all_raw(statement).await?;
        Ok(rows.iter().map(read).collect::<Result<_, Failure>>()?)
    }
}
