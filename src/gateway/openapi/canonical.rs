//! The canonical API's document: everything in it is read off the descriptors, comments included.

use prost_reflect::{DescriptorPool, FieldDescriptor, Value as Field};
use serde_json::{Value, json};

use super::{
    comments::{comment, first_sentence},
    errors,
    schema::{self, Object, Schemas, behaves, is_secret, option},
};
use crate::gateway::canonical::{Route, Routes};

const DESCRIPTION: &str = "\
Sets, resets, changes, generates, verifies and revokes the secrets of users, devices, integrations and calling services.

A `tenant_id` is the tenant's id, an alias with its dialect (`applivery:acme`), or `-` for the caller's own. Errors are a \
`google.rpc.Status` in JSON, with exactly one `ErrorInfo` that tells the reason; fields that are wrong are all told at \
once. Every answer has an `X-Request-Id`: the caller's own, or a new one. In requests, members may be `null`, which is \
as good as absent, and may be named as in the proto (`user_id`) or as here (`userId`); a member that a method does not \
know is refused. The same methods are there by gRPC.";

/// One route of one method.
pub(super) struct Operation<'a> {
    route: &'a Route,
    /// Which of the method's routes it is, from zero.
    binding: usize,
}

/// The whole document.
pub(super) fn document(pool: &DescriptorPool) -> Value {
    let routes = Routes::read(pool);
    let mut schemas = Schemas::default();
    let mut paths = Object::new();
    for (place, route) in routes.iter().enumerate() {
        schemas.request(&route.method.input());
        schemas.answer(&route.method.output());
        let binding = routes.iter().take(place).filter(|other| other.method == route.method).count();
        let path = paths.entry(&route.template).or_insert_with(|| Object::new().into());
        if let Some(path) = path.as_object_mut() {
            path.insert(route.http.as_str().to_ascii_lowercase(), Operation { route, binding }.describe());
        }
    }
    let mut components = schemas.components();
    components.append(&mut errors::schemas(pool));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Rekey",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Looks after credentials.",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This gateway"}],
        "tags": tags(pool),
        "security": [{"bearer": []}, {"authToken": []}, {"signedDate": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": errors::responses(pool),
            "headers": super::headers(),
            "securitySchemes": security_schemes(),
        },
    })
}

fn tags(pool: &DescriptorPool) -> Vec<Value> {
    let ours = pool.services().filter(|service| service.package_name() == "rekey.v1");
    ours.map(|service| {
        let description = comment(&service.parent_file(), service.path());
        json!({"name": service.name().trim_end_matches("Service"), "description": description})
    })
    .collect()
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token (`rk_…`), or a JWT of an issuer that the tenant trusts.",
        },
        "authToken": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "An API token."},
        "signedDate": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "A signature over the header `Date`, at most 15 minutes old: \
                `algorithm=\"hmac-sha256\",headers=\"date\",signature=\"<base64>\",apiKey=\"<key>\"`, where the signature \
                is the HMAC-SHA256 of `licenseSpring`, a line feed, `date: ` and the date, by the shared key. Browsers \
                do not let a page set `Date`.",
        },
    })
}

impl Operation<'_> {
    fn describe(&self) -> Value {
        let method = &self.route.method;
        let service = method.parent_service();
        let comment = comment(&service.parent_file(), method.path());
        let mut operation = Object::new();
        let mut put = |name: &str, value: Value| operation.insert(name.to_owned(), value);

        let again = if self.binding == 0 { String::new() } else { (self.binding + 1).to_string() };
        put("operationId", format!("{}_{}{again}", service.name(), method.name()).into());
        put("tags", json!([service.name().trim_end_matches("Service")]));
        put("summary", first_sentence(&comment).into());
        put("description", format!("{comment}\n\n{}", self.access()).into());
        if let Some(permission) = self.permission() {
            put("x-permission", permission.into());
        }
        put("x-grpc-method", format!("{}/{}", service.full_name(), method.name()).into());
        if !self.asks_for_a_caller() {
            put("security", json!([]));
        }
        let parameters = self.parameters();
        if !parameters.is_empty() {
            put("parameters", parameters.into());
        }
        if self.has_body() {
            let schema = schema::object(&method.input(), |field| self.is_asked(field), true);
            let required = schema.get("required").is_some();
            put("requestBody", json!({"required": required, "content": {"application/json": {"schema": schema}}}));
        }
        let output = method.output();
        let mut responses = errors::of(self);
        let good = json!({
            "description": self::comment(&output.parent_file(), output.path()),
            "headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}},
            "content": {
                "application/json": {"schema": {"$ref": format!("#/components/schemas/{}", output.name())}},
            },
        });
        responses.insert("200".to_owned(), good);
        put("responses", responses.into());
        operation.into()
    }

    /// Path variables, and where there is no body, everything else.
    fn parameters(&self) -> Vec<Value> {
        let input = self.route.method.input();
        let mut parameters = Vec::new();
        for name in self.route.variables() {
            let Some(field) = input.get_field_by_name(name) else { continue };
            let description = comment(&input.parent_file(), field.path());
            parameters.push(json!({
                "name": name, "in": "path", "required": true, "description": description, "schema": schema::value(&field),
            }));
        }
        let queried = input.fields().filter(|field| !self.has_body() && self.is_asked(field));
        parameters.extend(queried.map(|field| {
            json!({
                "name": field.json_name(),
                "in": "query",
                "required": behaves(&field, "REQUIRED"),
                "description": comment(&input.parent_file(), field.path()),
                "schema": schema::value(&field),
            })
        }));
        parameters
    }

    /// Whether a field is left for body or query: neither in the path, nor kept out by one that is.
    fn is_asked(&self, field: &FieldDescriptor) -> bool {
        let bound: Vec<_> =
            self.route.variables().filter_map(|name| self.route.method.input().get_field_by_name(name)).collect();
        !bound.iter().any(|other| {
            other == field
                || (other.containing_oneof().is_some() && other.containing_oneof() == field.containing_oneof())
        })
    }

    fn access(&self) -> String {
        match self.permission() {
            Some(permission) => format!("**Permission:** `{permission}`"),
            None if self.asks_for_a_caller() => "**Permission:** none; any known caller may.".to_owned(),
            None => "**Permission:** none; nobody needs to be known.".to_owned(),
        }
    }

    fn permission(&self) -> Option<String> {
        self.rule("permission")?.as_str().filter(|permission| !permission.is_empty()).map(str::to_owned)
    }

    /// A member of the method's access rule.
    fn rule(&self, name: &str) -> Option<Field> {
        let rule = option(&self.route.method.options(), "rekey.v1.rule")?;
        Some(rule.as_message()?.get_field_by_name(name)?.into_owned())
    }

    pub(super) fn asks_for_a_caller(&self) -> bool {
        self.rule("anybody") != Some(Field::Bool(true))
    }

    /// Whether the request itself holds a proof of who asks.
    pub(super) fn takes_a_secret(&self) -> bool {
        self.route.method.input().fields().any(|field| is_secret(&field))
    }

    /// Whether there is anything that a known caller may not.
    pub(super) fn may_be_denied(&self) -> bool {
        self.permission().is_some() || (self.asks_for_a_caller() && self.route.method.input().fields().len() > 0)
    }

    pub(super) fn has_variables(&self) -> bool {
        self.route.variables().next().is_some()
    }

    /// What can be repeated harmlessly by a request id is what changes something.
    pub(super) fn changes_something(&self) -> bool {
        self.route.method.input().get_field_by_name("request_id").is_some()
    }

    pub(super) fn has_body(&self) -> bool {
        self.route.has_body
    }
}
