//! Processes that use a keyring: which keys they know, and when a key made something last.

use std::time::Duration;

use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};

use super::{
    Store,
    entity::{keyring_key, replica},
    error::Failure,
    transaction::Command,
};
use crate::domain::{Replica, Result, Timestamp, Uid};

/// One that was silent for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_hours(24);

impl Store {
    /// Takes note of a process and of the keys it knows, and of those that it makes with, that they do so now.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn announce(&self, replica: Replica) -> Result<()> {
        self.run(Announce(replica)).await
    }

    /// Forgets a process that ends in order.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn leave(&self, uid: Uid) -> Result<()> {
        self.run(Leave(uid)).await
    }

    /// Takes note that these keys made until this time.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn note_keys(&self, made: Vec<String>, time: Timestamp) -> Result<()> {
        self.run(NoteKeys { made, time }).await
    }

    /// The processes that are known, by name.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn replicas(&self) -> Result<Vec<Replica>> {
        let rows = replica::Entity::find().order_by_asc(replica::Column::Name).all(&self.reader).await?;
        let ids = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let read = |row: replica::Model| Replica {
            knows: ids(&row.knows),
            makes_with: ids(&row.makes_with),
            uid: Uid::from_stored(row.uid),
            name: row.name,
            version: row.version,
            seen_time: Timestamp::from_micros(row.seen_time),
        };
        Ok(rows.into_iter().map(read).collect())
    }
}

struct Announce(Replica);

impl Command for Announce {
    const NAME: &'static str = "announce";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let Replica { uid, name, version, knows, makes_with, seen_time } = &self.0;
        note(transaction, makes_with, *seen_time).await?;
        let row = replica::Model {
            uid: uid.to_string(),
            name: name.clone(),
            version: version.clone(),
            knows: knows.join(" "),
            makes_with: makes_with.join(" "),
            seen_time: seen_time.micros(),
        };
        let columns = [replica::Column::Knows, replica::Column::MakesWith, replica::Column::SeenTime];
        let known = OnConflict::column(replica::Column::Uid).update_columns(columns).to_owned();
        replica::Entity::insert(row.into_active_model()).on_conflict(known).exec_without_returning(transaction).await?;
        let forgotten = replica::Column::SeenTime.lt(seen_time.minus(FORGOTTEN).micros());
        replica::Entity::delete_many().filter(forgotten).exec(transaction).await?;
        Ok(())
    }
}

struct Leave(Uid);

impl Command for Leave {
    const NAME: &'static str = "leave";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        replica::Entity::delete_by_id(self.0.as_str()).exec(transaction).await?;
        Ok(())
    }
}

struct NoteKeys {
    made: Vec<String>,
    time: Timestamp,
}

impl Command for NoteKeys {
    const NAME: &'static str = "note_keys";
    const BOOKKEEPING: bool = true;
    type Output = ();

    async fn apply(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        note(transaction, &self.made, self.time).await
    }
}

/// The time only grows, whichever clock it is of.
async fn note(transaction: &DatabaseTransaction, made: &[String], time: Timestamp) -> Result<(), Failure> {
    // All take the rows in one order.
    let mut made: Vec<&String> = made.iter().collect();
    made.sort();
    for id in made {
        let row = keyring_key::Model { id: id.clone(), primary_time: time.micros() };
        let later = OnConflict::column(keyring_key::Column::Id)
            .update_column(keyring_key::Column::PrimaryTime)
            .action_and_where(Expr::col((keyring_key::Entity, keyring_key::Column::PrimaryTime)).lt(time.micros()))
            .to_owned();
        keyring_key::Entity::insert(row.into_active_model())
            .on_conflict(later)
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}
