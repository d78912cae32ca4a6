//! The document of the four dialects, a file each: paths, bodies, and every error of their contracts. What a vendor does
//! not document, and we chose, is marked as inferred.

mod applivery;
mod licensespring;
mod ocariot;
mod roma;

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::schema::Object;

const DESCRIPTION: &str = "\
The REST interfaces of four older systems, answered as those systems answer. Their own clients work unchanged. A dialect \
brings no rights: it carries the caller's own credential to the service, which decides. The order of checks is: who \
calls, may they, is the request well formed, does it exist, is its state right.";

/// How sure we are of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Read in the vendor's documents or code, or seen on the wire.
    Known,
    /// Chosen by us where the vendor is silent.
    Inferred,
}
use Source::{Inferred, Known};

/// A dialect.
struct Dialect {
    /// Its tag.
    name: &'static str,
    description: &'static str,
    /// The name and schema of its errors, and their content type.
    error: (&'static str, Value),
    error_type: &'static str,
    schemas: Vec<(&'static str, Value)>,
    operations: Vec<Operation>,
}

/// One call.
struct Operation {
    id: &'static str,
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    description: &'static str,
    /// What the caller must hold, in Rekey's words and where there are such, in the dialect's.
    permission: Option<&'static str>,
    /// The schemes by which the caller may prove itself.
    security: &'static [&'static str],
    parameters: Vec<Value>,
    body: Option<Value>,
    success: (u16, Value),
    errors: Vec<Row>,
    /// The schema of its errors, where they are not the dialect's.
    error: Option<&'static str>,
}

/// A row of a contract's table of errors.
struct Row {
    status: u16,
    name: &'static str,
    when: &'static str,
    source: Source,
    body: Value,
}

const fn row(status: u16, name: &'static str, when: &'static str, source: Source, body: Value) -> Row {
    Row { status, name, when, source, body }
}

/// The whole document.
pub(super) fn document() -> Value {
    let dialects = [applivery::dialect(), licensespring::dialect(), ocariot::dialect(), roma::dialect()];
    let mut paths = Object::new();
    let mut schemas = Object::new();
    let mut tags = Vec::new();
    for dialect in dialects {
        tags.push(json!({"name": dialect.name, "description": dialect.description}));
        schemas.insert(dialect.error.0.to_owned(), dialect.error.1.clone());
        schemas.extend(dialect.schemas.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())));
        for operation in &dialect.operations {
            let path = paths.entry(operation.path).or_insert_with(|| Object::new().into());
            if let Some(path) = path.as_object_mut() {
                path.insert(operation.method.to_owned(), operation.describe(&dialect));
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rekey: dialects",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Four older systems' interfaces, unchanged.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This gateway"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": super::headers(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token; of `ocariot`, a JWT."},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A token."},
                "signedRequest": {"type": "apiKey", "in": "header", "name": "Authorization", "description": roma::SIGNATURE},
                "signedDate": {"type": "apiKey", "in": "header", "name": "Authorization", "description": licensespring::SIGNATURE},
            },
        },
    })
}

impl Operation {
    fn describe(&self, dialect: &Dialect) -> Value {
        let description = match self.permission {
            Some(permission) => format!("{}\n\n**Permission:** {permission}", self.description),
            None => format!("{}\n\n**Permission:** none; nobody needs to be known.", self.description),
        };
        let security: Vec<_> = self.security.iter().map(|scheme| json!({*scheme: []})).collect();
        let mut operation = json!({
            "operationId": self.id,
            "tags": [dialect.name],
            "summary": self.summary,
            "description": description,
            "security": security,
            "responses": self.responses(dialect),
        });
        if let Some(members) = operation.as_object_mut() {
            if !self.parameters.is_empty() {
                members.insert("parameters".to_owned(), self.parameters.clone().into());
            }
            if let Some(body) = &self.body {
                members.insert("requestBody".to_owned(), body.clone());
            }
        }
        operation
    }

    fn responses(&self, dialect: &Dialect) -> Object {
        let mut by_status = BTreeMap::<u16, Vec<&Row>>::new();
        for row in &self.errors {
            by_status.entry(row.status).or_default().push(row);
        }
        let mut responses: Object = by_status
            .into_iter()
            .map(|(status, rows)| (status.to_string(), self.refusal(dialect, status, &rows)))
            .collect();
        let (status, mut success) = self.success.clone();
        if let Some(success) = success.as_object_mut() {
            success.insert("headers".to_owned(), headers(status));
        }
        responses.insert(status.to_string(), success);
        responses
    }

    /// All that one status can say.
    fn refusal(&self, dialect: &Dialect, status: u16, rows: &[&Row]) -> Value {
        let mut description = String::new();
        let mut examples = Object::new();
        for row in rows {
            let inferred = if row.source == Inferred { " *(inferred)*" } else { "" };
            let _ = writeln!(description, "- `{}`: {}{inferred}", row.name, row.when);
            examples.insert(row.name.to_owned(), json!({"summary": row.when, "value": row.body}));
        }
        let schema = json!({"$ref": format!("#/components/schemas/{}", self.error.unwrap_or(dialect.error.0))});
        json!({
            "description": description,
            "headers": headers(status),
            "content": {dialect.error_type: {"schema": schema, "examples": examples}},
        })
    }
}

fn headers(status: u16) -> Value {
    let id = json!({"$ref": "#/components/headers/X-Request-Id"});
    if status == 429 {
        json!({"X-Request-Id": id, "Retry-After": {"$ref": "#/components/headers/Retry-After"}})
    } else {
        json!({"X-Request-Id": id})
    }
}

/// A variable of a path.
fn variable(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
}

/// A body in JSON.
fn body(required: bool, schema: &Value, example: &Value) -> Value {
    json!({"required": required, "content": {"application/json": {"schema": schema, "example": example}}})
}

/// An answer in JSON.
fn answer(description: &str, schema: &str, example: &Value) -> Value {
    let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
    json!({"description": description, "content": {"application/json": {"schema": schema, "example": example}}})
}
