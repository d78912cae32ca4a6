//! The errors of the canonical API: which statuses an operation answers, with which reasons. Reason, code and meaning are
//! the proto's; the status is what the gateway makes of them.

use std::fmt::Write as _;

use prost_reflect::DescriptorPool;
use serde_json::{Value, json};
use tonic::Code;

use super::{
    canonical::Operation,
    comments::{comment, first_sentence},
    schema::Object,
};
use crate::{gateway::failure::Failure, proto::ErrorReason};

/// The answers other than 200, by status: the component's name, and when.
const ANSWERS: [(u16, &str, &str); 11] = [
    (400, "BadRequest", "The request is not well formed, or the state of what it is about is not the right one."),
    (401, "Unauthenticated", "Nobody that is known calls."),
    (403, "PermissionDenied", "The caller may not."),
    (404, "NotFound", "What the path names is not there, or another tenant's."),
    (409, "Conflict", "It exists already, or was changed meanwhile."),
    (413, "BodyTooLarge", "The body is larger than 64 KiB."),
    (415, "UnsupportedMediaType", "The body is not declared as JSON."),
    (
        429,
        "TooManyRequests",
        "Too many calls, or more work than can be done in time. `Retry-After` says when to come back.",
    ),
    (500, "Internal", "A fault of the server, or a change whose outcome is not known."),
    (503, "Unavailable", "The service or its database does not answer. Nothing was changed."),
    (504, "TimedOut", "The service did not answer in time. A change may have happened or not."),
];

/// A documented reason.
struct Reason {
    name: String,
    code: Code,
    status: u16,
    meaning: String,
}

/// The reasons that the proto documents, each with the status that it comes with.
fn reasons(pool: &DescriptorPool) -> Vec<Reason> {
    let Some(documented) = pool.get_enum_by_name("rekey.v1.ErrorReason") else { return Vec::new() };
    let values = documented.values().filter_map(|value| {
        let known = ErrorReason::try_from(value.number()).ok()?;
        let comment = comment(&documented.parent_file(), value.path());
        // `NOT_FOUND: no such …`, `UNIMPLEMENTED, REST only (HTTP 405): …`.
        let (head, meaning) = comment.split_once(": ")?;
        let code = code(head.split(',').next()?)?;
        let status = Failure::found(code, known, "").http_status().as_u16();
        let name = value.name().trim_start_matches("ERROR_REASON_").to_owned();
        Some(Reason { name, code, status, meaning: first_sentence(meaning).to_owned() })
    });
    values.collect()
}

fn code(name: &str) -> Option<Code> {
    let codes = (0..=16).map(Code::from_i32);
    codes.into_iter().find(|code| name.replace('_', "").eq_ignore_ascii_case(&format!("{code:?}")))
}

/// `components.responses`.
pub(super) fn responses(pool: &DescriptorPool) -> Object {
    let reasons = reasons(pool);
    let mut responses = Object::new();
    for (status, name, when) in ANSWERS {
        let mut description = format!("{when}\n");
        let mut examples = Object::new();
        for reason in reasons.iter().filter(|reason| reason.status == status) {
            let _ = write!(description, "\n- `{}`: {}", reason.name, reason.meaning);
            examples.insert(reason.name.clone(), json!({"value": example(reason)}));
        }
        let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
        let more = match status {
            401 => Some(("WWW-Authenticate", json!({"schema": {"const": "Bearer"}, "required": true}))),
            429 => Some(("Retry-After", json!({"$ref": "#/components/headers/Retry-After"}))),
            _ => None,
        };
        if let (Some((header, value)), Some(headers)) = (more, headers.as_object_mut()) {
            headers.insert(header.to_owned(), value);
        }
        let content = json!({"schema": {"$ref": "#/components/schemas/Error"}, "examples": examples});
        let response =
            json!({"description": description, "headers": headers, "content": {"application/json": content}});
        responses.insert(name.to_owned(), response);
    }
    responses
}

fn example(reason: &Reason) -> Value {
    let info = json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason.name, "domain": "rekey"});
    let mut details = vec![info];
    if reason.code == Code::ResourceExhausted {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}));
    }
    json!({"code": i32::from(reason.code), "message": reason.meaning, "details": details})
}

/// The statuses of an operation, with references to their answers.
pub(super) fn of(operation: &Operation<'_>) -> Object {
    let applies = |status: u16| match status {
        401 => operation.asks_for_a_caller() || operation.takes_a_secret(),
        403 => operation.may_be_denied(),
        404 => operation.has_variables(),
        409 => operation.changes_something(),
        413 | 415 => operation.has_body(),
        _ => true,
    };
    let answers = ANSWERS.iter().filter(|(status, ..)| applies(*status));
    answers
        .map(|(status, name, _)| (status.to_string(), json!({"$ref": format!("#/components/responses/{name}")})))
        .collect()
}

/// The schema of every error: `google.rpc.Status` in JSON.
pub(super) fn schemas(pool: &DescriptorPool) -> Object {
    let names: Vec<_> = reasons(pool).into_iter().map(|reason| reason.name).collect();
    let text = || json!({"type": "string"});
    let violations = |fields: Value| json!({"type": "array", "items": {"type": "object", "properties": fields}});
    let detail = |name: &str, description: &str, required: &[&str], properties: Value| {
        let mut properties = properties;
        let mut all = vec!["@type"];
        all.extend(required);
        if let Some(members) = properties.as_object_mut() {
            members.insert("@type".to_owned(), json!({"const": format!("type.googleapis.com/google.rpc.{name}")}));
        }
        json!({"type": "object", "title": name, "description": description, "required": all, "properties": properties})
    };
    let details = json!([
        detail(
            "ErrorInfo",
            "Why, for machines. Every error has exactly one.",
            &["reason", "domain"],
            json!({
                "reason": {"type": "string", "enum": names},
                "domain": {"const": "rekey"},
                "metadata": {"type": "object", "additionalProperties": text()},
            })
        ),
        detail(
            "BadRequest",
            "Every field that is wrong, by its path in the proto.",
            &["fieldViolations"],
            json!({
                "fieldViolations": violations(json!({"field": text(), "description": text()})),
            })
        ),
        detail(
            "RetryInfo",
            "When to try again.",
            &["retryDelay"],
            json!({
                "retryDelay": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?s$"},
            })
        ),
        detail(
            "ResourceInfo",
            "What was not found.",
            &["resourceType"],
            json!({
                "resourceType": text(), "description": text(),
            })
        ),
        detail(
            "PreconditionFailure",
            "Which state is not the right one.",
            &["violations"],
            json!({
                "violations": violations(json!({"type": text(), "subject": text(), "description": text()})),
            })
        ),
        detail("RequestInfo", "The request's id, as in `X-Request-Id`.", &["requestId"], json!({"requestId": text()})),
    ]);
    let error = json!({
        "type": "object",
        "description": "A `google.rpc.Status`.",
        "required": ["code", "message", "details"],
        "properties": {
            "code": {"type": "integer", "minimum": 1, "maximum": 16, "description": "A `google.rpc.Code`."},
            "message": {"type": "string", "description": "A sentence for people."},
            "details": {"type": "array", "items": {"anyOf": details}},
        },
        "additionalProperties": false,
    });
    Object::from_iter([("Error".to_owned(), error)])
}
