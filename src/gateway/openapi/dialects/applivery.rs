//! `applivery`: the Harmony Mobile integration of an organization.

use serde_json::{Value, json};

use super::{Dialect, Inferred, Known, Operation, Row, answer, body, row, variable};

const PATH: &str = "/v1/organizations/{organizationId}/integrations/harmony-mobile/";

pub(super) fn dialect() -> Dialect {
    let error = json!({
        "type": "object",
        "required": ["status", "error"],
        "additionalProperties": false,
        "properties": {
            "status": {"const": false},
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "additionalProperties": false,
                "properties": {
                    "code": {"type": "integer", "enum": [1000, 3001, 4002, 4003, 4004, 4005, 5001, 5003]},
                    "message": {"type": "string"},
                    "data": {
                        "type": "object",
                        "properties": {"errors": {"type": "array", "items": {
                            "type": "object",
                            "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
                        }}},
                    },
                },
            },
        },
    });
    let text = |most: u16| json!({"type": "string", "maxLength": most});
    let credentials = json!({
        "type": "object",
        "required": ["status", "data"],
        "properties": {
            "status": {"const": true},
            "data": {
                "type": "object",
                "description": "Members that are cleared are left out.",
                "required": ["username", "password"],
                "additionalProperties": false,
                "properties": {
                    "username": text(128),
                    "password": {"type": "string", "format": "password", "minLength": 8, "maxLength": 128},
                    "token": text(128),
                    "portalAccountId": text(256),
                    "gwAddress": text(128),
                },
            },
        },
    });
    Dialect {
        name: "applivery",
        description: "The Harmony Mobile integration of an organization: a user name and password that the platform makes, \
                      and what the third party hands over.",
        error: ("AppliveryError", error),
        error_type: "application/json",
        schemas: vec![("AppliveryCredentials", credentials)],
        operations: operations(),
    }
}

fn operations() -> Vec<Operation> {
    let made = json!({"status": true, "data": {"username": "harmony-1f3c", "password": "k8Xw2-pQz71"}});
    let whole = json!({"status": true, "data": {
        "username": "harmony-1f3c", "password": "k8Xw2-pQz71", "token": "t-123", "portalAccountId": "p-456",
        "gwAddress": "gw.example.com",
    }});
    let settings = json!({"token": "t-123", "portalAccountId": "p-456", "gwAddress": "gw.example.com"});
    let given = |most: u16| json!({"type": "string", "minLength": 1, "maxLength": most});
    let update = json!({
        "type": "object",
        "required": ["token", "portalAccountId", "gwAddress"],
        "additionalProperties": false,
        "properties": {"token": given(128), "portalAccountId": given(256), "gwAddress": given(128)},
    });
    let ok = |description: &str, example: &Value| (200, answer(description, "AppliveryCredentials", example));
    vec![
        Operation {
            summary: "Resets the integration: a new password, and nothing of what the third party handed over",
            description: "The user name stays. Without the `/` at its end the path is the same.",
            permission: Some("`integrations:reset` (`mdm.integration.harmonyMobile.reset`)"),
            ..operation("applivery_reset", "delete", PATH, ok("User name and new password.", &made))
        },
        Operation {
            summary: "Takes what the third party hands over",
            description: "All three members are required.",
            permission: Some(
                "`integrations:update` and `integrations:reveal` (`mdm.integration.harmonyMobile.update`)",
            ),
            body: Some(body(true, &update, &settings)),
            errors: errors(true, false),
            ..operation("applivery_update", "put", PATH, ok("Everything there is.", &whole))
        },
        Operation {
            summary: "Shows the integration *(inferred)*",
            description: "The vendor's documents do not have it.",
            permission: Some("`integrations:reveal` (`mdm.integration.harmonyMobile.get`)"),
            ..operation("applivery_get", "get", PATH, ok("Everything there is.", &whole))
        },
        Operation {
            summary: "Makes the integration *(inferred)*",
            description: "With a user name and a password made by the server.",
            permission: Some("`integrations:create` (`mdm.integration.harmonyMobile.activate`)"),
            errors: errors(false, true),
            ..operation(
                "applivery_activate",
                "post",
                "/v1/organizations/{organizationId}/integrations/harmony-mobile/activate",
                ok("User name and password.", &made),
            )
        },
    ]
}

fn operation(id: &'static str, method: &'static str, path: &'static str, success: (u16, Value)) -> Operation {
    let organization = json!({"type": "string", "pattern": "^(([a-fA-F0-9]{24})|([a-zA-Z0-9\\-]{3,}))$"});
    Operation {
        id,
        method,
        path,
        summary: "",
        description: "",
        permission: None,
        security: &["bearer"],
        parameters: vec![variable("organizationId", "The organization: its id or its slug.", &organization)],
        body: None,
        success,
        errors: errors(false, false),
        error: None,
    }
}

fn errors(with_body: bool, activates: bool) -> Vec<Row> {
    let error = |code: u16, message: &str| json!({"status": false, "error": {"code": code, "message": message}});
    let mut rows = vec![
        row(401, "no-token", "No `Authorization`, or not Bearer.", Known, error(4002, "No auth token")),
        row(401, "invalid-token", "The token does not verify.", Known, error(4004, "Invalid Token")),
        row(401, "expired-token", "The token has expired.", Known, error(4005, "Token Expired")),
        row(
            403,
            "forbidden",
            "The permission is missing.",
            Known,
            error(4003, "Forbidden - You are not allowed to perform this action"),
        ),
        row(
            404,
            "not-found",
            "Organization or integration are unknown, or another tenant's; or the id is none.",
            Known,
            error(3001, "Entity not found"),
        ),
        row(429, "limit-exceeded", "Too many calls.", Inferred, error(5003, "Limit Exceeded")),
        row(500, "internal", "A fault of the server.", Known, error(1000, "Internal error")),
        row(409, "conflict", "It was changed meanwhile.", Inferred, error(5001, "Conflict")),
    ];
    if activates {
        rows.push(row(409, "exists", "It is active already.", Inferred, error(5001, "Conflict")));
    }
    if with_body {
        let problems = json!({"errors": [{"path": "gwAddress", "message": "is required"}]});
        let invalid =
            json!({"status": false, "error": {"code": 3001, "message": "Body Validation Error", "data": problems}});
        rows.push(row(400, "body-invalid", "The body breaks a rule; all of them are told.", Known, invalid.clone()));
        rows.push(row(413, "body-too-large", "The body is larger than 64 KiB.", Inferred, invalid));
    }
    rows
}
