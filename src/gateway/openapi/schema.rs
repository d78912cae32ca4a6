//! Messages as JSON Schema 2020-12, as proto3's JSON mapping and our transcoder have them: 64-bit integers and bytes are
//! strings, times are RFC 3339, enums are names, and an answer shows every field that cannot be absent.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor, ReflectMessage as _,
    Value as Field,
};
use serde_json::{Map, Value, json};

use super::comments::comment;

/// An object of JSON.
pub(super) type Object = Map<String, Value>;

/// The schemas that operations refer to, by their names.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    /// Messages that requests hold: those take no members that they do not know.
    asked: BTreeSet<String>,
    messages: BTreeMap<String, MessageDescriptor>,
    enums: BTreeMap<String, EnumDescriptor>,
}

impl Schemas {
    /// Takes in what a request can hold. Its own fields stand with the operation.
    pub(super) fn request(&mut self, input: &MessageDescriptor) {
        for field in input.fields() {
            self.reach(&field.kind(), true);
        }
    }

    /// Takes in what an answer is and can hold.
    pub(super) fn answer(&mut self, output: &MessageDescriptor) {
        self.reach(&Kind::Message(output.clone()), false);
    }

    fn reach(&mut self, kind: &Kind, asked: bool) {
        if let Kind::Enum(found) = kind {
            self.enums.insert(found.name().to_owned(), found.clone());
        }
        let Kind::Message(message) = kind else { return };
        let new = message.is_map_entry()
            || self.messages.insert(message.name().to_owned(), message.clone()).is_none()
            || (asked && !self.asked.contains(message.name()));
        if is_known(message) {
            self.messages.remove(message.name());
            return;
        }
        if message.is_map_entry() {
            self.messages.remove(message.name());
        } else if asked {
            self.asked.insert(message.name().to_owned());
        }
        if new {
            for field in message.fields() {
                self.reach(&field.kind(), asked);
            }
        }
    }

    /// All of them, for `components.schemas`.
    pub(super) fn components(&self) -> Object {
        let mut components = Object::new();
        for (name, message) in &self.messages {
            let asked = self.asked.contains(name);
            components.insert(name.clone(), object(message, |_| true, asked));
        }
        for (name, found) in &self.enums {
            components.insert(name.clone(), names(found));
        }
        components
    }
}

/// A message's schema, of the fields that `shown` lets through.
pub(super) fn object(message: &MessageDescriptor, shown: impl Fn(&FieldDescriptor) -> bool, asked: bool) -> Value {
    let mut properties = Object::new();
    let mut required = Vec::new();
    for field in message.fields().filter(shown) {
        // An answer has every field that cannot be absent, whatever its value.
        let always = if asked { behaves(&field, "REQUIRED") } else { !field.supports_presence() };
        if always {
            required.push(Value::from(field.json_name()));
        }
        properties.insert(field.json_name().to_owned(), property(&field, asked));
    }
    let mut description = comment(&message.parent_file(), message.path());
    let mut exclusive = Vec::new();
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let members: Vec<_> = oneof.fields().filter(|field| properties.contains_key(field.json_name())).collect();
        if members.len() > 1 {
            let members: Vec<_> = members.iter().map(FieldDescriptor::json_name).collect();
            description += &told(&oneof, &members);
            exclusive.extend(pairs(&members));
        }
    }
    let mut schema = Object::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    if !description.is_empty() {
        schema.insert("description".to_owned(), description.into());
    }
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if !exclusive.is_empty() {
        schema.insert("allOf".to_owned(), exclusive.into());
    }
    if asked {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    schema.into()
}

/// What a oneof says of its members.
fn told(oneof: &OneofDescriptor, members: &[&str]) -> String {
    let members: Vec<_> = members.iter().map(|name| format!("`{name}`")).collect();
    let comment = comment(&oneof.parent_message().parent_file(), oneof.path());
    format!("\n\nAt most one of {}: {comment}", members.join(", "))
}

/// That no two of them are there together.
fn pairs(members: &[&str]) -> Vec<Value> {
    let mut pairs = Vec::new();
    for (place, one) in members.iter().enumerate() {
        pairs.extend(members.iter().skip(place + 1).map(|other| json!({"not": {"required": [one, other]}})));
    }
    pairs
}

/// A field with what is said of it.
fn property(field: &FieldDescriptor, asked: bool) -> Value {
    let mut schema = value(field);
    if let Value::Object(members) = &mut schema {
        let description = comment(&field.parent_message().parent_file(), field.path());
        if !description.is_empty() {
            members.insert("description".to_owned(), description.into());
        }
        // In what is only ever an answer, everything is.
        if asked && behaves(field, "OUTPUT_ONLY") {
            members.insert("readOnly".to_owned(), true.into());
        }
        if behaves(field, "INPUT_ONLY") {
            members.insert("writeOnly".to_owned(), true.into());
        }
    }
    schema
}

/// A field's values.
pub(super) fn value(field: &FieldDescriptor) -> Value {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let value = entry.get_field(2).map_or_else(|| json!({}), |value| scalar(&value.kind(), is_secret(field)));
        return json!({"type": "object", "additionalProperties": value});
    }
    let one = scalar(&field.kind(), is_secret(field));
    if field.is_list() { json!({"type": "array", "items": one}) } else { one }
}

fn scalar(kind: &Kind, secret: bool) -> Value {
    match kind {
        Kind::String if secret => json!({"type": "string", "format": "password"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
        }
        Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"})
        }
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"}),
        Kind::Enum(found) => json!({"$ref": format!("#/components/schemas/{}", found.name())}),
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => {
                json!({"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$", "examples": ["900s"]})
            }
            "google.protobuf.FieldMask" => {
                json!({"type": "string", "description": "Fields in lowerCamelCase, joined by commas."})
            }
            _ => json!({"$ref": format!("#/components/schemas/{}", message.name())}),
        },
    }
}

/// Whether the JSON mapping has a form of its own for it.
fn is_known(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf"
}

/// An enum: its values' names, and what they mean.
fn names(found: &EnumDescriptor) -> Value {
    let file = found.parent_file();
    let mut description = comment(&file, found.path());
    description.push('\n');
    for value in found.values() {
        let _ = write!(description, "\n- `{}`: {}", value.name(), comment(&file, value.path()));
    }
    let names: Vec<_> = found.values().map(|value| value.name().to_owned()).collect();
    json!({"type": "string", "enum": names, "description": description})
}

/// Whether a field holds a secret (`debug_redact`).
pub(super) fn is_secret(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

/// Whether a field has this `google.api.field_behavior`.
pub(super) fn behaves(field: &FieldDescriptor, behaviour: &str) -> bool {
    let pool = field.parent_pool();
    let known = pool.get_enum_by_name("google.api.FieldBehavior");
    let number = known.and_then(|known| known.get_value_by_name(behaviour)).map(|value| value.number());
    let values = option(&field.options(), "google.api.field_behavior");
    let values = values.as_ref().and_then(Field::as_list).unwrap_or_default();
    number.is_some() && values.iter().any(|value| value.as_enum_number() == number)
}

/// An option that is an extension, where it is set.
pub(super) fn option(options: &DynamicMessage, name: &str) -> Option<Field> {
    let extension = options.descriptor().parent_pool().get_extension_by_name(name)?;
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}
