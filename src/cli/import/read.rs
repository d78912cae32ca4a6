//! Files of users, read as they come: CSV, lines of JSON, or one JSON document, whatever its size.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::{
    super::{
        bar,
        failure::{Exit, Failure},
    },
    Format,
    shape::{self, Firebase},
};
use crate::proto::ImportUser;

/// What some programs begin UTF-8 with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;
/// The longest line; so far it is looked into a file, to find out what it holds.
const MAX_LINE: u64 = 1024 * 1024;

/// A user of the file, or why it is none.
pub(super) struct Item {
    /// The line, or the element of a document, counted from 1.
    pub(super) line: u64,
    pub(super) user: Result<ImportUser, String>,
}

/// A file that was opened and looked into.
pub(super) struct Source {
    reader: Box<dyn Read + Send>,
    length: Option<u64>,
    container: Container,
    format: Format,
    firebase: Option<Firebase>,
}

#[derive(Clone, Copy)]
enum Container {
    Csv,
    Lines,
    Document,
}

impl Source {
    pub(super) fn open(path: &Path, format: Format, firebase: Option<Firebase>) -> Result<Self, Failure> {
        let unreadable =
            |cause: io::Error| Failure::new(Exit::Failed, format!("cannot read {}: {cause}", path.display()));
        let (file, length): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).map_err(unreadable)?;
            let length = bar::length(&file).map_err(unreadable)?;
            (Box::new(file), length)
        };
        let mut reader = BufReader::with_capacity(BUFFER, file);
        let begin = first_line(&mut reader).map_err(unreadable)?;
        let container = match format {
            Format::Csv => Container::Csv,
            Format::Jsonl => Container::Lines,
            Format::Auto if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) => {
                Container::Csv
            }
            Format::Auto | Format::Keycloak | Format::Kratos | Format::Firebase | Format::Auth0 => look(&begin),
        };
        let reader = Box::new(Cursor::new(begin).chain(reader));
        Ok(Self { reader, length, container, format, firebase })
    }

    /// Bytes of the file, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Sends every user from a place on. Blocks.
    ///
    /// # Errors
    /// A sentence, where nothing more can be read.
    pub(super) fn read(self, from: u64, items: &mpsc::Sender<Item>, bytes: &Arc<AtomicU64>) -> Result<(), String> {
        let Self { reader, container, format, firebase, .. } = self;
        let mut sink = Sink { items, from, line: 0, format, firebase };
        let reader = Counted { reader, bytes: Arc::clone(bytes) };
        match container {
            Container::Csv => sink.csv(reader),
            Container::Lines => sink.lines(reader),
            Container::Document => sink.document(reader),
        }
    }
}

/// All until the end of the first line that is not blank, without a mark of the byte order. However little comes out of a
/// pipe at first, it is waited for the rest of the line.
fn first_line(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    let mut rest = reader.take(MAX_LINE);
    while begin.trim_ascii().is_empty() && rest.read_until(b'\n', &mut begin)? > 0 {
        if begin.starts_with(BYTE_ORDER_MARK) {
            begin.drain(..BYTE_ORDER_MARK.len());
        }
    }
    Ok(begin)
}

/// CSV begins with a word; lines of JSON are whole objects that hold no list of users.
fn look(begin: &[u8]) -> Container {
    let text = begin.trim_ascii();
    match text.first() {
        Some(b'[') => Container::Document,
        Some(b'{') => match serde_json::from_slice::<Map<String, Value>>(text) {
            Ok(object) if !object.get("users").is_some_and(Value::is_array) => Container::Lines,
            Ok(_) | Err(_) => Container::Document,
        },
        Some(_) | None => Container::Csv,
    }
}

struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

struct Sink<'a> {
    items: &'a mpsc::Sender<Item>,
    from: u64,
    line: u64,
    format: Format,
    firebase: Option<Firebase>,
}

impl Sink<'_> {
    /// Sends one; false where nobody takes it any more.
    fn put(&mut self, line: u64, user: Result<ImportUser, String>) -> bool {
        self.line = line;
        line < self.from || self.items.blocking_send(Item { line, user }).is_ok()
    }

    fn json(&mut self, line: u64, value: Value) -> bool {
        let user = match value {
            Value::Object(object) => shape::user(&object, self.format, self.firebase.as_ref()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err("is not an object".to_owned())
            }
        };
        self.put(line, user)
    }

    fn csv(&mut self, reader: impl Read) -> Result<(), String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        // The error may quote the line.
        let headers = reader.headers().map_err(|_quotes_it| "the file is neither JSON nor CSV in UTF-8".to_owned())?;
        let headers = headers.clone();
        let known = shape::COLUMNS.join(", ");
        let mut seen = HashSet::new();
        for (name, number) in headers.iter().zip(1..) {
            if !shape::COLUMNS.contains(&name) {
                let unknown = match shape::name_of(name) {
                    Some(name) => format!("there is no column {name}"),
                    None => format!("column {number} of the first line has no name"),
                };
                return Err(format!("{unknown}; CSV has a header with some of {known}"));
            }
            if !seen.insert(name) {
                return Err(format!("the column {name} is there twice"));
            }
        }
        let mut record = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            let user = match reader.read_record(&mut record) {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    let cells = headers.iter().zip(&record);
                    let object = cells.map(|(name, cell)| (name.to_owned(), Value::String(cell.to_owned()))).collect();
                    shape::user(&object, Format::Csv, None)
                }
                Err(error) if error.is_io_error() => return Err(error.to_string()),
                Err(error) => Err(sentence(&error)),
            };
            if !self.put(line, user) {
                return Ok(());
            }
        }
    }

    fn lines(&mut self, reader: impl Read) -> Result<(), String> {
        let mut reader = BufReader::new(reader);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let count = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut text).map_err(|error| error.to_string())?;
            if count == 0 {
                break;
            }
            if count as u64 == MAX_LINE && text.last() != Some(&b'\n') {
                return Err(format!("line {line} is longer than {MAX_LINE} bytes"));
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let going = match serde_json::from_slice(&text) {
                Ok(value) => self.json(line, value),
                Err(_quotes_it) => self.put(line, Err("is not JSON".to_owned())),
            };
            if !going {
                break;
            }
        }
        Ok(())
    }

    fn document(&mut self, reader: impl Read) -> Result<(), String> {
        let mut document = serde_json::Deserializer::from_reader(BufReader::new(reader));
        let mut found = false;
        let read = Elements { sink: self, found: &mut found }.deserialize(&mut document);
        // The parser's own words may quote a value.
        let place = |error: serde_json::Error| {
            format!("the file is not JSON from line {}, column {} on", error.line(), error.column())
        };
        read.and_then(|()| document.end()).map_err(place)?;
        if found { Ok(()) } else { Err("the file has no list of users".to_owned()) }
    }
}

/// What is wrong with a line of CSV. The error itself may quote it.
fn sentence(error: &csv::Error) -> String {
    if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind() {
        format!("has not as many fields as the header: {len}, not {expected_len}")
    } else {
        "is not CSV in UTF-8".to_owned()
    }
}

/// The elements of a list, or of the list `users` of an object.
struct Elements<'a, 'b> {
    sink: &'a mut Sink<'b>,
    /// Whether there is one.
    found: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of users, or an object with one")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        *self.found = true;
        let mut line = self.sink.line;
        while let Some(value) = list.next_element()? {
            line += 1;
            if !self.sink.json(line, value) {
                while list.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "users" {
                map.next_value_seed(Elements { sink: &mut *self.sink, found: &mut *self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
