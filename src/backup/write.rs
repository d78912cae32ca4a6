//! Making a backup.

use std::io::Write;

use data_encoding::HEXLOWER;

use super::{
    BackupError, Progress, Summary,
    frame::{Kind, Writer},
    parts::{FORMAT, Head, Header, Mark, Trailer, put, to_json},
};
use crate::{
    crypto::Keyring,
    domain::{Entropy, Installation, Timestamp},
    planted::{Bug, is_planted},
    store::{Cell, Snapshot, Store, Table},
};

/// Rows go into a frame until it has so many bytes.
const FRAME: usize = 256 * 1024;

/// Writes a backup of the database as it is now: whatever was acknowledged before is in it, and nothing by half. Others
/// go on writing to the database; the memory it takes does not depend on how much there is.
///
/// # Errors
/// Where the database cannot be read, or the file not be written.
pub async fn write(
    store: &Store,
    keyring: &Keyring,
    now: Timestamp,
    entropy: &dyn Entropy,
    to: impl Write,
    progress: impl FnMut(Progress),
) -> Result<Summary, BackupError> {
    let snapshot = store.snapshot().await?;
    let written = write_snapshot(store, &snapshot, keyring, now, entropy, to, progress).await;
    snapshot.end().await;
    written
}

async fn write_snapshot(
    store: &Store,
    snapshot: &Snapshot,
    keyring: &Keyring,
    now: Timestamp,
    entropy: &dyn Entropy,
    to: impl Write,
    mut progress: impl FnMut(Progress),
) -> Result<Summary, BackupError> {
    let mut done = Progress::default();
    for table in snapshot.tables() {
        done.of += snapshot.count(table).await?;
    }
    progress(done);

    let mut salt = [0; 32];
    entropy.fill(&mut salt);
    let (key_id, chain) = keyring.begin_backup(&salt);
    let installation = snapshot.installation().await?;
    let mark = |found: &Installation| Mark { uid: found.uid.to_string(), epoch: found.epoch.number() };
    let header = Header {
        format: FORMAT,
        key_id: key_id.clone(),
        salt: HEXLOWER.encode(&salt),
        time_unix_us: now.micros(),
        installation: installation.as_ref().map(mark),
        migrations: snapshot.migrations().to_vec(),
        rows: done.of,
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut writer = Writer::begin(to, chain)?;
    writer.frame(Kind::Header, &to_json(&header)?)?;

    let mut tables = Vec::new();
    for table in snapshot.tables() {
        let before = done.rows;
        let later = if is_planted(Bug::TornBackup) { Some(store.snapshot().await?) } else { None };
        table_rows(later.as_ref().unwrap_or(snapshot), table, &mut writer, &mut done, &mut progress).await?;
        tables.push((table.name.clone(), done.rows - before));
    }
    let trailer = Trailer { tables: tables.clone(), sha256: writer.checksum() };
    writer.frame(Kind::Trailer, &to_json(&trailer)?)?;
    let bytes = writer.end()?;
    let schema = header.migrations.last().cloned().unwrap_or_default();
    Ok(Summary { installation, time: now, key_id, schema, tables, bytes })
}

async fn table_rows(
    snapshot: &Snapshot,
    table: &Table,
    writer: &mut Writer<impl Write>,
    done: &mut Progress,
    progress: &mut impl FnMut(Progress),
) -> Result<(), BackupError> {
    writer.frame(Kind::Table, &to_json(&Head::of(table))?)?;
    let mut body: Vec<u8> = Vec::with_capacity(FRAME + FRAME / 4);
    let take = |rows: Vec<Vec<Cell>>| {
        for row in rows {
            for cell in &row {
                put(&mut body, cell)?;
            }
            done.rows += 1;
            if body.len() >= FRAME {
                writer.frame(Kind::Rows, &body)?;
                body.clear();
            }
        }
        done.bytes = writer.bytes;
        progress(*done);
        Ok::<_, BackupError>(())
    };
    snapshot.rows(table, take).await?;
    if !body.is_empty() {
        writer.frame(Kind::Rows, &body)?;
    }
    Ok(())
}
