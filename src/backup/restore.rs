//! Reading a backup: to check it, or to fill an empty database with it.

use std::io::Read;

use data_encoding::HEXLOWER;

use super::{
    BackupError, Progress, Summary,
    frame::{Frame, Kind, MAX_HEADER, Reader},
    parts::{FORMAT, Head, Header, Preamble, Trailer, from_json, rows},
};
use crate::{
    crypto::{Keyring, keyring::Chain},
    domain::{Epoch, Installation, Timestamp, Uid},
    store::{Cell, Restoration, Rollback, StoreOptions, Table, known_migrations},
};

/// A backup that is read: its header was believed.
struct Backup<R> {
    reader: Reader<R>,
    chain: Chain,
    header: Header,
}

/// What comes after the header.
enum Part {
    Table(Table),
    Rows(Vec<Vec<Cell>>),
    End,
}

impl<R: Read> Backup<R> {
    fn open(from: R, keyring: &Keyring) -> Result<Self, BackupError> {
        let mut reader = Reader::begin(from)?;
        let frame = reader.frame(Some(MAX_HEADER))?;
        let preamble: Preamble = from_json(&frame.body)?;
        if preamble.format != FORMAT {
            let format = preamble.format;
            let sentence = format!("it has format {format}, not {FORMAT}: use the version of rekey that wrote it");
            return Err(BackupError::file(sentence));
        }
        let salt = HEXLOWER.decode(preamble.salt.as_bytes()).unwrap_or_default();
        let Some(mut chain) = keyring.follow_backup(&preamble.key_id, &salt) else {
            return Err(BackupError::Keyring(format!(
                "the backup was made with another keyring: this one lacks its digest key {}. Use the keyring of the \
                 installation it is of",
                preamble.key_id.escape_default(),
            )));
        };
        if frame.open(&mut chain)? != Kind::Header {
            return Err(out_of_order());
        }
        Ok(Self { reader, chain, header: from_json(&frame.body)? })
    }

    /// The next part, and its frame.
    fn next(&mut self, table: Option<&Table>) -> Result<(Part, Frame), BackupError> {
        let frame = self.reader.frame(None)?;
        let part = match (frame.open(&mut self.chain)?, table) {
            (Kind::Table, _) => Part::Table(from_json::<Head>(&frame.body)?.table()?),
            (Kind::Rows, Some(table)) => Part::Rows(rows(table, &frame.body)?),
            (Kind::Trailer, _) => Part::End,
            (Kind::Rows, None) | (Kind::Header, _) => return Err(out_of_order()),
        };
        Ok((part, frame))
    }

    fn installation(&self) -> Option<Installation> {
        let mark = self.header.installation.as_ref()?;
        Some(Installation { uid: Uid::from_stored(&*mark.uid), epoch: Epoch::from_stored(mark.epoch) })
    }

    /// Reads all of it, and hands on every table and its rows.
    async fn read(
        mut self,
        mut each: impl AsyncFnMut(&Table, Option<Vec<Vec<Cell>>>) -> Result<(), BackupError>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Summary, BackupError> {
        let installation = self.installation();
        let mut done = Progress { of: self.header.rows, ..Progress::default() };
        let mut tables: Vec<(String, u64)> = Vec::new();
        let mut table: Option<Table> = None;
        loop {
            let (part, frame) = self.next(table.as_ref())?;
            match part {
                Part::Table(next) => {
                    if tables.iter().any(|(name, _)| *name == next.name) {
                        return Err(out_of_order());
                    }
                    tables.push((next.name.clone(), 0));
                    each(table.insert(next), None).await?;
                }
                Part::Rows(rows) => {
                    let (Some(table), Some((_, count))) = (&table, tables.last_mut()) else {
                        return Err(out_of_order());
                    };
                    *count += rows.len() as u64;
                    done.rows += rows.len() as u64;
                    done.bytes = self.reader.bytes;
                    each(table, Some(rows)).await?;
                    progress(done);
                }
                Part::End => {
                    let trailer: Trailer = from_json(&frame.body)?;
                    if trailer.tables != tables || done.rows != self.header.rows {
                        return Err(BackupError::file("it does not hold as many rows as it says"));
                    }
                    if trailer.sha256 != frame.checksum_before {
                        return Err(BackupError::file("its checksum is not that of what it holds"));
                    }
                    break;
                }
            }
        }
        Ok(Summary {
            installation,
            time: Timestamp::from_micros(self.header.time_unix_us),
            key_id: self.header.key_id,
            schema: self.header.migrations.last().cloned().unwrap_or_default(),
            tables,
            bytes: self.reader.end()?,
        })
    }
}

fn out_of_order() -> BackupError {
    BackupError::file("its parts are not in their order")
}

/// Reads a backup to its end: that it is whole, unaltered, and of this keyring's installation.
///
/// # Errors
/// Where it is not; its sentence says how.
pub async fn check(from: impl Read, keyring: &Keyring, progress: impl FnMut(Progress)) -> Result<Summary, BackupError> {
    Backup::open(from, keyring)?.read(async |_, _| Ok(()), progress).await
}

/// What came of a restore.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the backup held.
    pub summary: Summary,
    /// Migrations that were applied on top.
    pub migrated: usize,
    /// Tables that are none of rekey's, and were left out.
    pub left_out: Vec<String>,
    /// What the database says of itself, where it was marked as one that somebody goes on with.
    pub accepted: Option<Installation>,
}

/// Fills an empty database with a backup, all of it or not at all.
///
/// `seen` is what is known of the database outside of it, if anything. Where the backup is older than that, or of another
/// installation, it is refused unless the `accepted` rollback is given.
///
/// # Errors
/// Where the backup is not whole and unaltered, of another keyring, of a newer program, or older than what was seen and
/// not accepted; where the database is not empty, or fails.
pub async fn restore(
    from: impl Read,
    keyring: &Keyring,
    into: &StoreOptions,
    seen: Option<&Installation>,
    accepted: Option<&Rollback>,
    now: Timestamp,
    progress: impl FnMut(Progress),
) -> Result<Restored, BackupError> {
    let backup = Backup::open(from, keyring)?;
    let known = known_migrations();
    if let Some(newer) = backup.header.migrations.iter().find(|name| !known.contains(name)) {
        return Err(BackupError::Database(format!(
            "the backup is of a newer version of rekey ({newer}): restore it with that one"
        )));
    }
    let refused = seen.and_then(|seen| seen.objection(backup.installation().as_ref()));
    if let (Some(objection), None) = (&refused, accepted) {
        let fix = "to go on from it all the same, add --accept-rollback";
        return Err(BackupError::Rollback(format!("{objection}; {fix}")));
    }
    let restoration = Restoration::begin(into, &backup.header.migrations, now).await?;
    let filled = fill(backup, &restoration, keyring, accepted.filter(|_| refused.is_some()), progress).await;
    match filled {
        Ok(restored) => {
            restoration.finish().await?;
            Ok(restored)
        }
        Err(error) => {
            restoration.abandon().await;
            Err(error)
        }
    }
}

async fn fill(
    backup: Backup<impl Read>,
    restoration: &Restoration,
    keyring: &Keyring,
    accepted: Option<&Rollback>,
    progress: impl FnMut(Progress),
) -> Result<Restored, BackupError> {
    let mut left_out: Vec<String> = Vec::new();
    let each = async |table: &Table, rows: Option<Vec<Vec<Cell>>>| {
        let target = restoration.tables().iter().find(|target| target.name == table.name);
        match (target, rows) {
            (None, None) => left_out.push(table.name.clone()),
            (None, Some(_)) => {}
            (Some(target), None) => same_columns(table, target)?,
            (Some(_), Some(rows)) => restoration.insert(table, rows).await?,
        }
        Ok(())
    };
    let summary = backup.read(each, progress).await?;
    for table in restoration.tables() {
        let Some((_, rows)) = summary.tables.iter().find(|(name, _)| *name == table.name) else {
            return Err(BackupError::file(format!("it lacks the table {}", table.name)));
        };
        if restoration.count(&table.name).await? != *rows {
            return Err(BackupError::Database(format!("not all rows of {} arrived", table.name)));
        }
    }
    let has = keyring.wrapping_key_ids();
    let needed = restoration.wrapping_keys_in_use().await?;
    let missing: Vec<_> = needed.iter().map(String::as_str).filter(|id| !has.contains(id)).collect();
    if !missing.is_empty() {
        return Err(BackupError::Keyring(format!(
            "the keyring lacks wrapping keys that the backup needs: {}. Use the keyring of when it was made, or a later one",
            missing.join(", "),
        )));
    }
    let migrated = restoration.migrate().await?;
    let accepted = match accepted {
        Some(rollback) => Some(restoration.accept(rollback).await?),
        None => None,
    };
    Ok(Restored { summary, migrated, left_out, accepted })
}

/// Columns may stand in another order, and must be the same.
fn same_columns(found: &Table, expected: &Table) -> Result<(), BackupError> {
    let in_both = found.columns.iter().all(|column| expected.columns.contains(column));
    if in_both && found.columns.len() == expected.columns.len() {
        return Ok(());
    }
    Err(BackupError::file(format!("its table {} does not have the columns that its migrations give it", found.name)))
}
