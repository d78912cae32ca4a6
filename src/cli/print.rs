//! Answers as people read them, or as JSON.

use comfy_table::{Table, presets};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, SerializeOptions, Value};

use super::{
    failure::{Exit, Failure},
    output,
};

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// For programs: as the REST API has it.
    Json,
}

/// One thing: a line for each field.
pub(super) fn one(answer: &DynamicMessage, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return json(answer);
    }
    let mut rows = Vec::new();
    // What is asked for is often the one member of its answer: its name says nothing.
    for (field, value) in present(answer) {
        if let Value::Message(inner) = &value
            && !is_well_known(inner)
        {
            fields(inner, "", &mut rows);
        } else {
            field_rows(&field, &value, "", &mut rows);
        }
    }
    let mut table = plain();
    for (name, value) in rows {
        table.add_row([name, value]);
    }
    print(&table);
    let versions = versions(answer);
    if !versions.is_empty() {
        output::line("");
        many(&versions, &["version", "stage", "create_time", "expire_time", "last_used_time", "use_count"]);
    }
    Ok(())
}

/// The versions of secrets in an answer, or in what it holds: they have a table of their own.
fn versions(answer: &DynamicMessage) -> Vec<DynamicMessage> {
    let inner = present(answer).into_iter().filter_map(|(_, value)| value.as_message().cloned());
    let lists = [answer.clone()].into_iter().chain(inner).flat_map(|message| present(&message));
    let lists = lists.filter(|(field, value)| is_version(field) && value.as_list().is_some());
    let items = lists.flat_map(|(_, value)| value.as_list().unwrap_or_default().to_vec());
    items.filter_map(|item| item.as_message().cloned()).collect()
}

fn is_version(field: &FieldDescriptor) -> bool {
    field.kind().as_message().is_some_and(|message| message.full_name() == "rekey.v1.SecretVersion")
}

/// Many things: a line for each, with those of these fields that any of them has.
pub(super) fn many(items: &[DynamicMessage], columns: &[&str]) {
    let is_used = |name: &&&str| items.is_empty() || items.iter().any(|item| !column(item, name).is_empty());
    let columns: Vec<_> = columns.iter().filter(is_used).collect();
    let mut table = plain();
    table.set_header(columns.iter().map(|name| name.to_ascii_uppercase()));
    for item in items {
        table.add_row(columns.iter().map(|name| column(item, name)));
    }
    print(&table);
}

/// What is not an answer: a line for each, without the columns that are empty in all of them.
pub(super) fn rows(columns: &[&str], rows: Vec<Vec<String>>) {
    let is_used = |place: &usize| rows.iter().any(|row| row.get(*place).is_some_and(|text| !text.is_empty()));
    let used: Vec<usize> = (0..columns.len()).filter(is_used).collect();
    let mut table = plain();
    table.set_header(used.iter().filter_map(|place| columns.get(*place)).map(|name| name.to_ascii_uppercase()));
    for row in rows {
        table.add_row(used.iter().filter_map(|place| row.get(*place).cloned()));
    }
    print(&table);
}

/// What is not an answer, as JSON over several lines.
pub(super) fn value(value: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|cause| Failure::new(Exit::Failed, format!("it cannot be printed: {cause}")))?;
    output::line(&text);
    Ok(())
}

/// An answer, or anything else, as JSON over several lines.
pub(super) fn json(message: &DynamicMessage) -> Result<(), Failure> {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut text);
    let written = message.serialize_with_options(&mut serializer, &SerializeOptions::new());
    written.map_err(|cause| Failure::new(Exit::Failed, format!("the answer cannot be printed: {cause}")))?;
    output::line(&String::from_utf8_lossy(&text));
    Ok(())
}

/// The same on one line.
pub(super) fn json_line(message: &DynamicMessage) -> Result<(), Failure> {
    let written = serde_json::to_string(message);
    let text = written.map_err(|cause| Failure::new(Exit::Failed, format!("the answer cannot be printed: {cause}")))?;
    output::line(&text);
    Ok(())
}

/// The things in a member of an answer.
pub(super) fn items(answer: &DynamicMessage, member: &str) -> Vec<DynamicMessage> {
    let list = answer.get_field_by_name(member);
    let list = list.as_deref().and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(|value| value.as_message().cloned()).collect()
}

/// A text member of an answer.
pub(super) fn text(answer: &DynamicMessage, member: &str) -> String {
    let value = answer.get_field_by_name(member);
    value.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A yes-or-no member of an answer.
pub(super) fn flag(answer: &DynamicMessage, member: &str) -> bool {
    answer.get_field_by_name(member).as_deref().and_then(Value::as_bool).unwrap_or(false)
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

fn print(table: &Table) {
    for line in table.lines() {
        // Columns are set apart; what begins and ends the line is not for anybody.
        output::line(line.trim_end().strip_prefix(' ').unwrap_or(line.trim_end()));
    }
}

fn present(message: &DynamicMessage) -> Vec<(FieldDescriptor, Value)> {
    message.fields().map(|(field, value)| (field, value.clone())).collect()
}

fn fields(message: &DynamicMessage, path: &str, rows: &mut Vec<(String, String)>) {
    for (field, value) in present(message) {
        field_rows(&field, &value, path, rows);
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is stands on one line")]
fn field_rows(field: &FieldDescriptor, value: &Value, path: &str, rows: &mut Vec<(String, String)>) {
    let name = format!("{path}{}", field.name());
    match value {
        Value::Message(inner) if !is_well_known(inner) => fields(inner, &format!("{name}."), rows),
        Value::List(_) if is_version(field) => {}
        Value::List(items) if items.iter().any(|item| matches!(item, Value::Message(_))) => {
            for (place, item) in items.iter().enumerate() {
                if let Value::Message(inner) = item {
                    fields(inner, &format!("{name}[{place}]."), rows);
                }
            }
        }
        Value::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), scalar(field, value))).collect();
            sorted.sort();
            rows.extend(sorted.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
        }
        value => rows.push((name, scalar(field, value))),
    }
}

/// A member on one line, however it is.
pub(super) fn column(item: &DynamicMessage, name: &str) -> String {
    let Some(field) = item.descriptor().get_field_by_name(name) else { return String::new() };
    if field.supports_presence() && !item.has_field(&field) {
        return String::new();
    }
    let value = item.get_field(&field);
    let Value::Map(entries) = &*value else { return scalar(&field, &value) };
    let mut pairs: Vec<_> =
        entries.iter().map(|(key, value)| format!("{}={}", key_text(key), scalar(&field, value))).collect();
    pairs.sort();
    pairs.join(",")
}

fn key_text(key: &MapKey) -> String {
    key.as_str().unwrap_or_default().to_owned()
}

/// A value in a line's place. Of an enum's value only what is its own: `ACTIVE` of `SUBJECT_STATE_ACTIVE`.
fn scalar(field: &FieldDescriptor, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::I32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::F32(number) => format!("{number:.1}"),
        Value::F64(number) => format!("{number:.1}"),
        Value::EnumNumber(number) => {
            let Kind::Enum(names) = field.kind() else { return number.to_string() };
            let name = names.get_value(*number).map(|value| value.name().to_owned()).unwrap_or_default();
            name.strip_prefix(&format!("{}_", screaming(names.name()))).unwrap_or(&name).to_owned()
        }
        Value::List(items) => items.iter().map(|item| scalar(field, item)).collect::<Vec<_>>().join(", "),
        Value::Message(message) => well_known(message),
        Value::Bytes(_) | Value::Map(_) => String::new(),
    }
}

fn is_well_known(message: &DynamicMessage) -> bool {
    message.descriptor().package_name() == "google.protobuf"
}

/// A time or a duration, as JSON has it.
fn well_known(message: &DynamicMessage) -> String {
    let value = serde_json::to_value(message).unwrap_or_default();
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `SubjectState` as the names of its values begin.
fn screaming(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, letter| {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
        text
    })
}
