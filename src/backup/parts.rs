//! What is in the frames.

use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::store::{Cell, Column, Kind, Table};

/// The one format there is.
pub(super) const FORMAT: u32 = 1;

/// What has to be known before a file can be believed.
#[derive(Debug, Deserialize)]
pub(super) struct Preamble {
    pub(super) format: u32,
    #[serde(default)]
    pub(super) key_id: String,
    #[serde(default)]
    pub(super) salt: String,
}

/// The header.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    /// The digest key that vouches for it.
    pub(super) key_id: String,
    /// Hexadecimal digits.
    pub(super) salt: String,
    pub(super) time_unix_us: i64,
    pub(super) installation: Option<Mark>,
    /// What was applied, in the order of their names.
    pub(super) migrations: Vec<String>,
    /// Rows of all tables.
    pub(super) rows: u64,
    /// The program that wrote it.
    pub(super) program: String,
}

/// Which installation, and how far it had come.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    pub(super) uid: String,
    pub(super) epoch: i64,
}

/// What begins a table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    table: String,
    columns: Vec<(String, String)>,
}

impl Head {
    pub(super) fn of(table: &Table) -> Self {
        let columns = table.columns.iter().map(|column| (column.name.clone(), column.kind.as_str().to_owned()));
        Self { table: table.name.clone(), columns: columns.collect() }
    }

    pub(super) fn table(self) -> Result<Table, BackupError> {
        let column = |(name, kind): (String, String)| {
            let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
            Some(Column { name, kind })
        };
        let columns: Option<_> = self.columns.into_iter().map(column).collect();
        let columns = columns.ok_or_else(|| BackupError::file(format!("{} has a column of no kind", self.table)))?;
        Ok(Table { name: self.table, columns })
    }
}

/// The trailer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer {
    pub(super) tables: Vec<(String, u64)>,
    /// SHA-256 of all bytes before the trailer's frame, in hexadecimal digits.
    pub(super) sha256: String,
}

pub(super) fn to_json(part: &impl Serialize) -> Result<Vec<u8>, BackupError> {
    serde_json::to_vec(part).map_err(|cause| BackupError::file(cause.to_string()))
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BackupError> {
    serde_json::from_slice(body).map_err(|_quotes| BackupError::file("a part of it is not what rekey writes"))
}

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const NO: u8 = 2;
const YES: u8 = 3;
const LONG: u8 = 4;

/// Appends a cell.
pub(super) fn put(body: &mut Vec<u8>, cell: &Cell) -> Result<(), BackupError> {
    let long = match cell {
        Cell::Integer(Some(number)) => {
            body.push(INTEGER);
            body.extend_from_slice(&number.to_be_bytes());
            return Ok(());
        }
        Cell::Flag(Some(flag)) => {
            body.push(if *flag { YES } else { NO });
            return Ok(());
        }
        Cell::Text(Some(text)) => text.as_bytes(),
        Cell::Bytes(Some(bytes)) => bytes,
        Cell::Integer(None) | Cell::Flag(None) | Cell::Text(None) | Cell::Bytes(None) => {
            body.push(NULL);
            return Ok(());
        }
    };
    let too_long = |_| BackupError::file("a value is too long for a backup");
    let length = u32::try_from(long.len()).map_err(too_long)?;
    body.push(LONG);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(long);
    Ok(())
}

/// The rows of a body, of a table with these columns.
pub(super) fn rows(table: &Table, mut body: &[u8]) -> Result<Vec<Vec<Cell>>, BackupError> {
    let mut rows = Vec::new();
    while !body.is_empty() {
        let cells: Option<_> = table.columns.iter().map(|column| take(&mut body, column.kind)).collect();
        rows.push(cells.ok_or_else(|| BackupError::file(format!("a row of {} is not one", table.name)))?);
        // A table without columns has no rows either.
        if table.columns.is_empty() {
            break;
        }
    }
    Ok(rows)
}

fn take(body: &mut &[u8], kind: Kind) -> Option<Cell> {
    let (mark, rest) = body.split_first()?;
    *body = rest;
    Some(match (*mark, kind) {
        (NULL, Kind::Integer) => Cell::Integer(None),
        (NULL, Kind::Flag) => Cell::Flag(None),
        (NULL, Kind::Text) => Cell::Text(None),
        (NULL, Kind::Bytes) => Cell::Bytes(None),
        (INTEGER, Kind::Integer) => {
            let (number, rest) = body.split_first_chunk::<8>()?;
            *body = rest;
            Cell::Integer(Some(i64::from_be_bytes(*number)))
        }
        (NO, Kind::Flag) => Cell::Flag(Some(false)),
        (YES, Kind::Flag) => Cell::Flag(Some(true)),
        (LONG, Kind::Text) => Cell::Text(Some(String::from_utf8(long(body)?.to_vec()).ok()?)),
        (LONG, Kind::Bytes) => Cell::Bytes(Some(long(body)?.to_vec())),
        _ => return None,
    })
}

fn long<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let (long, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *body = rest;
    Some(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |kind: Kind| Column { name: kind.as_str().to_owned(), kind };
        Table { name: "t".to_owned(), columns: Kind::ALL.map(column).into() }
    }

    #[test]
    fn cells_come_back_as_they_were() {
        let all = [
            vec![
                Cell::Integer(Some(i64::MIN)),
                Cell::Flag(Some(true)),
                Cell::Text(Some("ö".to_owned())),
                Cell::Bytes(Some(vec![0, 255])),
            ],
            vec![Cell::Integer(None), Cell::Flag(None), Cell::Text(None), Cell::Bytes(None)],
            vec![
                Cell::Integer(Some(-1)),
                Cell::Flag(Some(false)),
                Cell::Text(Some(String::new())),
                Cell::Bytes(Some(Vec::new())),
            ],
        ];
        let mut body = Vec::new();
        for cell in all.iter().flatten() {
            put(&mut body, cell).unwrap();
        }
        assert!(rows(&table(), &body).unwrap() == all);
        // Cut off anywhere but between rows it is refused, never misread.
        let whole = |length: usize| rows(&table(), &body[..length]).is_ok();
        assert_eq!((0..=body.len()).filter(|length| whole(*length)).count(), all.len() + 1);
    }

    #[test]
    fn tables_come_back_as_they_were() {
        let json = to_json(&Head::of(&table())).unwrap();
        assert_eq!(from_json::<Head>(&json).unwrap().table().unwrap(), table());
    }
}
