//! `licensespring`: License API v4.

use serde_json::{Value, json};

use super::{Dialect, Inferred, Known, Operation, Row, body, row};

pub(super) const SIGNATURE: &str = "\
`licensespring`: a signature over the header `Date`, at most 15 minutes old: \
`algorithm=\"hmac-sha256\",headers=\"date\",signature=\"<base64>\",apiKey=\"<key>\"`. The signature is the HMAC-SHA256 of \
`licenseSpring`, a line feed, `date: ` and the date as sent, by the shared key. Browsers do not let a page set `Date`.";

pub(super) fn dialect() -> Dialect {
    let error = json!({
        "type": "object",
        "description": "The status is that of HTTP.",
        "required": ["status", "code", "message"],
        "additionalProperties": false,
        "properties": {
            "status": {"type": "integer"},
            "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
            "message": {"type": "string"},
        },
    });
    let oauth_error = json!({
        "type": "object",
        "description": "As RFC 6749 section 5.2 has it.",
        "required": ["error", "error_description"],
        "additionalProperties": false,
        "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    });
    Dialect {
        name: "licensespring",
        description: "Users change their own passwords. The caller's key names the company.",
        error: ("LicensespringError", error),
        error_type: "application/json",
        schemas: vec![("LicensespringOauthError", oauth_error)],
        operations: vec![change_password(), oauth_url(), oauth_token()],
    }
}

fn change_password() -> Operation {
    let secret = json!({"type": "string", "format": "password"});
    let request = json!({
        "type": "object",
        "required": ["username", "password", "new_password"],
        "additionalProperties": false,
        "properties": {"username": {"type": "string"}, "password": secret, "new_password": secret},
    });
    let example =
        json!({"username": "user@example.com", "password": "the current one", "new_password": "the one to be"});
    let changed = json!({
        "description": "It was changed. The body is no JSON: it has no quotes.",
        "content": {"text/plain; charset=utf-8": {"schema": {"const": "password_changed"}}},
    });
    Operation {
        id: "licensespring_changePassword",
        method: "post",
        path: "/api/v4/change_password",
        summary: "Changes a user's password, by the current one",
        description: "`password` is the current one.",
        permission: Some("`users:changePassword`"),
        security: &["signedDate", "bearer"],
        parameters: vec![json!({
            "name": "Date",
            "in": "header",
            "required": true,
            "description": "What is signed, as RFC 9110 section 5.6.7 writes it. With a token it must be there too.",
            "schema": {"type": "string", "examples": ["Tue, 07 Jun 2011 20:51:35 GMT"]},
        })],
        body: Some(body(true, &request, &example)),
        success: (200, changed),
        errors: errors(),
        error: None,
    }
}

fn oauth_url() -> Operation {
    let url = json!({
        "description": "Where tokens are.",
        "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["url"],
            "properties": {"url": {"type": "string", "format": "uri"}},
        }}},
    });
    Operation {
        id: "licensespring_oauthUrl",
        method: "get",
        path: "/api/v4/oauth_url",
        summary: "Says where tokens are had",
        description: "The first step of the vendor's clients that work with OAuth.",
        permission: None,
        security: &[],
        parameters: vec![json!({
            "name": "login_type",
            "in": "query",
            "required": true,
            "description": "The kind of login.",
            "schema": {"const": "client_credentials"},
        })],
        body: None,
        success: (200, url),
        errors: vec![
            row(
                400,
                "validation_error",
                "Another `login_type`, or none.",
                Inferred,
                error(400, "validation_error", "login_type must be client_credentials"),
            ),
            row(
                400,
                "missing_headers",
                "The request names no host.",
                Inferred,
                error(400, "missing_headers", "Some headers are missing"),
            ),
            internal(),
        ],
        error: None,
    }
}

fn oauth_token() -> Operation {
    let token = json!({
        "description": "A token, for `Authorization: Bearer`.",
        "content": {"application/json": {"schema": {
            "type": "object",
            "required": ["access_token", "expires_in", "token_type"],
            "properties": {
                "access_token": {"type": "string", "format": "password"},
                "expires_in": {"type": "integer", "minimum": 1},
                "token_type": {"const": "Bearer"},
            },
        }}},
    });
    let form = json!({
        "type": "object",
        "required": ["grant_type", "client_id", "client_secret"],
        "properties": {
            "grant_type": {"const": "client_credentials"},
            "client_id": {"type": "string", "description": "The API key."},
            "client_secret": {"type": "string", "format": "password", "description": "The shared key."},
        },
    });
    Operation {
        id: "licensespring_oauthToken",
        method: "post",
        path: "/api/v4/oauth_token",
        summary: "Answers client credentials with a token",
        description: "OAuth 2.0 client credentials (RFC 6749 section 4.4), as a form.",
        permission: None,
        security: &[],
        parameters: Vec::new(),
        body: Some(json!({"required": true, "content": {"application/x-www-form-urlencoded": {"schema": form}}})),
        success: (200, token),
        errors: vec![
            refused(400, "invalid_request", "The body is no form, too large, or lacks `grant_type`."),
            refused(400, "unsupported_grant_type", "There is another `grant_type`."),
            refused(401, "invalid_client", "Id or secret are absent or wrong."),
            refused(429, "temporarily_unavailable", "Too many calls."),
            refused(500, "server_error", "A fault of the server."),
        ],
        error: Some("LicensespringOauthError"),
    }
}

/// RFC 6749 section 5.2; the vendor documents the client's error alone.
fn refused(status: u16, code: &'static str, when: &'static str) -> Row {
    let source = if status == 401 { Known } else { Inferred };
    row(status, code, when, source, json!({"error": code, "error_description": when}))
}

fn error(status: u16, code: &str, message: &str) -> Value {
    json!({"status": status, "code": code, "message": message})
}

fn internal() -> Row {
    let body = error(500, "internal_error", "Server-side error: Internal error");
    row(500, "internal_error", "A fault of the server.", Known, body)
}

fn errors() -> Vec<Row> {
    let bad = |code: &'static str, when, source, message: &str| row(400, code, when, source, error(400, code, message));
    let missing = "Some parameters are missing in the request: username, password";
    let parts = "some parameters are missing in authorization: signature, apiKey";
    let unauthorized = |code: &'static str, when, message| row(401, code, when, Known, error(401, code, message));
    vec![
        bad("missing_headers", "`Date` or `Authorization` is absent.", Known, "Some headers are missing"),
        bad(
            "authorization_invalid_headers",
            "The authorization is malformed, or does not sign `date`.",
            Known,
            "invalid headers value in authorization",
        ),
        bad("authorization_missing_params", "A part of the authorization is absent.", Known, parts),
        bad("hmac_required", "The signature has another algorithm.", Known, "hmac is required algorithm"),
        bad(
            "date_header_diff",
            "The date is more than 15 minutes old (known) or ahead (inferred).",
            Known,
            "the date header is more than 15 minutes from the server's time",
        ),
        bad("invalid_api_key", "The key is unknown.", Known, "provided api key is not valid"),
        bad("revoked_api_key", "The key was revoked.", Known, "provided api key is revoked"),
        bad(
            "read_only_api_key",
            "The key may not do this.",
            Known,
            "provided api key is not allowed to change passwords",
        ),
        bad(
            "change_password_not_allowed",
            "The tenant does not let its users change their passwords.",
            Known,
            "Change password not allowed for the company",
        ),
        bad("missing_parameters", "Members of the body are absent.", Known, missing),
        bad(
            "validation_error",
            "A member is of a wrong type, unknown, or against the policy.",
            Known,
            "new_password must have at least 8 characters",
        ),
        bad("invalid_json", "The body is no JSON.", Known, "the body is not valid JSON"),
        bad(
            "license_not_found",
            "The user is unknown, or the current password is wrong: one answer for both.",
            Inferred,
            "license with the provided license user not found",
        ),
        bad("license_not_enabled", "The user is disabled.", Inferred, "license is not enabled"),
        bad("blacklisted", "The user is locked.", Inferred, "the license user is blocked"),
        unauthorized("signature_mismatch", "The signature is wrong.", "signature mismatch"),
        unauthorized("oauth_token_expired", "The token has expired.", "the token has expired"),
        unauthorized("oauth_token_malformed", "The token does not verify.", "the token is not valid"),
        row(
            413,
            "validation_error",
            "The body is larger than 64 KiB.",
            Inferred,
            error(413, "validation_error", "the body is larger than 64 KiB"),
        ),
        row(
            429,
            "too_many_requests",
            "Too many calls.",
            Inferred,
            error(429, "too_many_requests", "too many requests, try again later"),
        ),
        internal(),
    ]
}
