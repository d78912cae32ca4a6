//! `AuditService`, and what it filters by.

use tonic::{Request, Response, Status};

use super::{
    answer::{answer, timestamp},
    validate::Fields,
};
use crate::{
    domain::{Error, SubjectKind, Timestamp},
    ops::{
        Ops,
        audit::{Filter, Kept, ListAuditRecords, Outcome},
    },
    proto::{AuditRecord, ListAuditRecordsRequest, ListAuditRecordsResponse, audit_service_server::AuditService},
};

/// The most characters of a filter.
const MAX_FILTER: usize = 1_024;
/// What a filter compares.
const NAMES: [&str; 5] = ["action", "outcome", "target_kind", "target_id", "time"];
/// Records on a page, where the request does not say.
const PAGE: u32 = 50;
/// Records on a page at most.
const MAX_PAGE: u32 = 1_000;

pub(super) struct AuditApi {
    ops: Ops,
}

impl AuditApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_records(
        &self,
        request: Request<ListAuditRecordsRequest>,
    ) -> Result<Response<ListAuditRecordsResponse>, Status> {
        answer(request, async |call, request| {
            let page = self.ops.list_audit_records(call, decode(request)?).await?;
            let records = page.records.into_iter().map(|record| encode(record, page.tenant_id.to_string())).collect();
            Ok(ListAuditRecordsResponse { records, next_page_token: page.next_page_token, more: page.more })
        })
        .await
    }
}

fn decode(request: ListAuditRecordsRequest) -> Result<ListAuditRecords, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(&request.tenant_id);
    let size = match u32::try_from(request.page_size) {
        Ok(0) => Some(PAGE),
        Ok(size) => Some(size.min(MAX_PAGE)),
        Err(_) => fields.refuse("page_size", "must not be negative"),
    };
    let text = fields.short_text("filter", request.filter, MAX_FILTER);
    let filter = text.and_then(|text| match filter(&text) {
        Ok(filter) => Some((filter, text)),
        Err(rule) => fields.refuse("filter", rule),
    });
    let (Some(tenant), Some(size), Some((filter, filter_text))) = (tenant, size, filter) else {
        return Err(fields.error());
    };
    Ok(ListAuditRecords { tenant, size, page_token: request.page_token, filter, filter_text })
}

fn encode(record: Kept, tenant_id: String) -> AuditRecord {
    AuditRecord {
        record_id: record.uid.to_string(),
        tenant_id,
        time: Some(timestamp(record.time)),
        actor: record.actor,
        action: record.action,
        target_kind: record.target_kind.unwrap_or_default(),
        target_id: record.target_id.unwrap_or_default(),
        outcome: record.outcome,
        reason: record.reason.unwrap_or_default(),
        request_id: record.request_id,
        detail: record.detail,
    }
}

/// Reads comparisons joined by `AND`; what is wrong, as a sentence.
fn filter(text: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    let mut rest = text.trim_start();
    if rest.is_empty() {
        return Ok(filter);
    }
    loop {
        let (name, operator, value, after) = comparison(rest)?;
        apply(&mut filter, name, operator, value)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(filter);
        }
        let next = rest.strip_prefix("AND").filter(|next| next.starts_with(' '));
        rest = next.ok_or("comparisons must be joined by AND")?.trim_start();
    }
}

/// A name, an operator, a value, and what follows.
fn comparison(text: &str) -> Result<(&str, &str, String, &str), String> {
    let end = text.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let operators = [">=", "<=", "=", ">", "<"];
    let operator = operators.into_iter().find(|operator| rest.starts_with(operator));
    let operator = operator.ok_or(r#"must be comparisons such as action = "UserService/ResetPassword""#)?;
    if !NAMES.contains(&name) {
        return Err("only action, outcome, target_kind, target_id and time can be compared".to_owned());
    }
    let rest = rest.get(operator.len()..).unwrap_or_default().trim_start();
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([' ', '"', '(', ')']).unwrap_or(rest.len());
        let (value, after) = rest.split_at(end);
        let value = if value.is_empty() { Err(format!("{name} is compared with nothing")) } else { Ok(value) };
        return Ok((name, operator, value?.to_owned(), after));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return Ok((name, operator, value, quoted.get(place + 1..).unwrap_or_default())),
            '\\' => match letters.next() {
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                Some(_) | None => return Err(r#"a backslash must be followed by " or another"#.to_owned()),
            },
            other => value.push(other),
        }
    }
    Err(format!("the value of {name} has no end"))
}

fn apply(filter: &mut Filter, name: &str, operator: &str, value: String) -> Result<(), String> {
    let twice = || format!("{name} is compared twice");
    if name == "time" {
        let (bound, time) = bound(filter, operator, &value)?;
        return if bound.replace(time).is_some() { Err(twice()) } else { Ok(()) };
    }
    if operator != "=" {
        return Err(format!("{name} is compared by = alone"));
    }
    let first = match name {
        "action" => filter.action.replace(value).is_none(),
        "target_id" => filter.target_id.replace(value).is_none(),
        "target_kind" => {
            let mut kinds = SubjectKind::ALL.into_iter().map(SubjectKind::as_str).chain(["job", "tenant"]);
            if !kinds.any(|kind| kind == value) {
                return Err("target_kind must be user, device, integration, caller, job or tenant".to_owned());
            }
            filter.target_kind.replace(value).is_none()
        }
        "outcome" => {
            let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == value);
            let outcome = outcome.ok_or("outcome must be succeeded, denied or failed")?;
            filter.outcome.replace(outcome).is_none()
        }
        _ => false,
    };
    if first { Ok(()) } else { Err(twice()) }
}

/// Which end of the time a comparison sets, and to what.
fn bound<'a>(
    filter: &'a mut Filter,
    operator: &str,
    value: &str,
) -> Result<(&'a mut Option<Timestamp>, Timestamp), String> {
    let time = value.parse().ok().and_then(|time| Fields::default().time("filter", Some(time)).flatten());
    let time = time.ok_or(r#"time must be as in "2026-01-01T00:00:00Z""#)?;
    let next = Timestamp::from_micros(time.micros().saturating_add(1));
    match operator {
        ">=" => Ok((&mut filter.from, time)),
        ">" => Ok((&mut filter.from, next)),
        "<" => Ok((&mut filter.until, time)),
        "<=" => Ok((&mut filter.until, next)),
        _ => Err("time is compared by >=, >, <= and <".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_filter_is_read_whatever_its_spacing() {
        let time = |seconds: i64| Some(Timestamp::from_micros(seconds * 1_000_000));
        let some = |text: &str| Some(text.to_owned());
        let action = some("UserService/ResetPassword");
        for (text, expected) in [
            ("", Filter::default()),
            ("  ", Filter::default()),
            (r#"action = "UserService/ResetPassword""#, Filter { action: action.clone(), ..Filter::default() }),
            (r"action=UserService/ResetPassword", Filter { action: action.clone(), ..Filter::default() }),
            (
                r#"outcome="denied"  AND target_kind = user AND target_id="a \"b\" \\ AND c" "#,
                Filter {
                    outcome: Some(Outcome::Denied),
                    target_kind: some("user"),
                    target_id: some(r#"a "b" \ AND c"#),
                    ..Filter::default()
                },
            ),
            (
                r#"time >= "2026-01-01T00:00:00Z" AND time < 2026-01-02T01:00:00+01:00"#,
                Filter { from: time(1_767_225_600), until: time(1_767_312_000), ..Filter::default() },
            ),
        ] {
            assert_eq!(filter(text), Ok(expected), "{text}");
        }
        let exact = filter(r#"time > "1970-01-01T00:00:01Z" AND time <= "1970-01-01T00:00:02Z""#).unwrap();
        assert_eq!(
            (exact.from, exact.until),
            (Some(Timestamp::from_micros(1_000_001)), Some(Timestamp::from_micros(2_000_001)))
        );
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [
            "x",
            "action",
            "action =",
            "action : x",
            "action != x",
            "action = x OR action = y",
            "action = x outcome = denied",
            "action = x AND",
            "action = x ANDoutcome = denied",
            "action = x and outcome = denied",
            "action = x AND action = y",
            "(action = x)",
            "NOT action = x",
            "-action = x",
            "action > x",
            "Action = x",
            "actor = x",
            "detail = x",
            "outcome = fine",
            "target_kind = planet",
            "time = 2026-01-01T00:00:00Z",
            "time > yesterday",
            "time > 99999-01-01T00:00:00Z",
            "time > 2026-01-01T00:00:00Z AND time >= 2026-01-02T00:00:00Z",
            r#"action = "x"#,
            r#"action = "x\n""#,
            r#"action = "x"y"#,
            r"action = 'x' OR '1'='1'",
        ] {
            assert!(filter(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_refused(text in r#"[a-z_=<>"\\ AND()é*]{0,64}"#) {
            let _ = filter(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(value in r"[ -~é]{0,40}") {
            let quoted = value.replace('\\', r"\\").replace('"', r#"\""#);
            let read = filter(&format!(r#"target_id = "{quoted}" AND action = x"#)).unwrap();
            prop_assert_eq!(read.target_id, Some(value));
        }
    }
}
