//! `ocariot`: accounts behind an API gateway.

use serde_json::{Value, json};

use super::{Dialect, Inferred, Known, Operation, Row, answer, body, row, variable};

pub(super) fn dialect() -> Dialect {
    let error = json!({
        "type": "object",
        "required": ["code", "message"],
        "additionalProperties": false,
        "properties": {
            "code": {"type": "integer", "description": "The status."},
            "message": {"type": "string"},
            "description": {"type": "string"},
            "redirect_link": {"type": "string"},
        },
    });
    let token = json!({
        "type": "object",
        "required": ["access_token"],
        "additionalProperties": false,
        "properties": {"access_token": {"type": "string", "format": "password", "description": "A JWT, good for a day."}},
    });
    Dialect {
        name: "ocariot",
        description: "Accounts: an administrator resets and deletes them, their owners sign in and change their passwords.",
        error: ("OcariotError", error),
        error_type: "application/json; charset=utf-8",
        schemas: vec![("OcariotToken", token)],
        operations: vec![reset(), change(), delete(), authenticate()],
    }
}

fn reset() -> Operation {
    let request = members(&["new_password"]);
    let example = json!({"new_password": "correct horse battery staple"});
    let mut errors = for_callers();
    errors.extend(for_users());
    errors.extend(for_bodies("new_password", "Required field not provided...", "new_password is required!"));
    Operation {
        summary: "Sets a user's password",
        description: "For any user, oneself too. There is no rule but that it has at least one character.",
        permission: Some("`users:resetPassword`"),
        body: Some(body(true, &request, &example)),
        errors,
        ..operation("ocariot_resetPassword", "post", "/v1/users/{user_id}/reset-password")
    }
}

fn change() -> Operation {
    let request = members(&["old_password", "new_password"]);
    let example = json!({"old_password": "the current one", "new_password": "the one to be"});
    let missing = "old_password, new_password are required!";
    let mut errors = for_callers();
    errors.extend(for_users());
    errors.extend(for_bodies("new_password", "Required fields were not provided...", missing));
    errors.push(row(
        400,
        "wrong-password",
        "The old password is wrong.",
        Known,
        full(
            400,
            "Password does not match!",
            "The old password parameter does not match with the actual user password.",
        ),
    ));
    Operation {
        summary: "Changes one's own password",
        description: "The new password may equal the old one.",
        permission: Some("one of the five `*:update` scopes, one's own id, and a `sub_type` that may"),
        body: Some(body(true, &request, &example)),
        errors,
        ..operation("ocariot_changePassword", "put", "/v1/users/{user_id}/password")
    }
}

fn delete() -> Operation {
    let mut errors = for_callers();
    errors.push(invalid_id());
    Operation {
        summary: "Deletes a user",
        description: "Not oneself (403). An unknown id is answered in the same way, and so is another administrator's, who \
                      is not deleted.",
        permission: Some("`users:delete`"),
        errors,
        ..operation("ocariot_deleteUser", "delete", "/v1/users/{user_id}")
    }
}

fn authenticate() -> Operation {
    let request = members(&["username", "password"]);
    let example = json!({"username": "educator01", "password": "correct horse battery staple"});
    let missing = "username, password are required!";
    let mut errors = for_bodies("username", "Required fields were not provided...", missing);
    // A body that is not JSON is, here, one without members.
    errors.retain(|row| row.name != "not-json");
    let wrong = json!({"code": 401, "message": "Invalid username or password!"});
    errors.push(row(401, "wrong", "The user is unknown, or the password is wrong: one answer for both.", Known, wrong));
    let must = "The password is right, and must be changed first.";
    errors.push(row(403, "must-change", must, Inferred, forbidden()));
    errors.extend(for_everybody());
    Operation {
        summary: "Answers user name and password with a token",
        description: "A JWT with the claims `sub`, `sub_type`, `iss`, `iat`, `exp` and `scope`, good for a day.",
        permission: None,
        security: &[],
        parameters: Vec::new(),
        body: Some(body(true, &request, &example)),
        success: (200, answer("The token.", "OcariotToken", &json!({"access_token": "eyJhbGciOiJSUzI1NiJ9.….…"}))),
        errors,
        ..operation("ocariot_authenticate", "post", "/v1/auth")
    }
}

fn operation(id: &'static str, method: &'static str, path: &'static str) -> Operation {
    let user = json!({"type": "string", "pattern": "^[a-fA-F0-9]{24}$", "examples": ["507f191e810c19729de860ea"]});
    Operation {
        id,
        method,
        path,
        summary: "",
        description: "",
        permission: None,
        security: &["bearer"],
        parameters: vec![variable("user_id", "The user: 24 hex digits.", &user)],
        body: None,
        success: (204, json!({"description": "Done; there is no body."})),
        errors: Vec::new(),
        error: None,
    }
}

/// A body of required texts.
fn members(names: &[&str]) -> Value {
    let member = |name: &&str| {
        let format = if *name == "username" { json!({}) } else { json!({"format": "password"}) };
        let mut schema = json!({"type": "string", "minLength": 1});
        if let (Some(schema), Some(format)) = (schema.as_object_mut(), format.as_object()) {
            schema.extend(format.clone());
        }
        ((*name).to_owned(), schema)
    };
    let properties: serde_json::Map<_, _> = names.iter().map(member).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

fn full(code: u16, message: &str, description: &str) -> Value {
    json!({"code": code, "message": message, "description": description})
}

fn forbidden() -> Value {
    full(403, "FORBIDDEN", "Authorization failed due to insufficient permissions.")
}

fn for_callers() -> Vec<Row> {
    let unauthorized = |description: &str| json!({"code": 401, "message": "UNAUTHORIZED", "description": description, "redirect_link": "/auth"});
    let mut rows = vec![
        row(
            401,
            "no-token",
            "No `Authorization`, or not Bearer.",
            Known,
            unauthorized("Authentication failed for lack of authentication credentials."),
        ),
        row(
            401,
            "invalid-token",
            "Not a token, or of another key, algorithm or issuer.",
            Known,
            unauthorized("Authentication failed due to access token issues."),
        ),
        row(
            401,
            "expired-token",
            "The token has expired.",
            Known,
            unauthorized("Authentication failed because access token is expired."),
        ),
        row(403, "forbidden", "The scope is missing, or the user is somebody else.", Known, forbidden()),
    ];
    rows.extend(for_everybody());
    rows
}

fn for_everybody() -> Vec<Row> {
    vec![
        row(
            429,
            "too-many-requests",
            "Too many calls. The status is documented, the body is not.",
            Inferred,
            full(429, "TOO MANY REQUESTS", "The server is busy. Please try again later."),
        ),
        row(
            500,
            "internal",
            "A fault of the server.",
            Known,
            full(500, "INTERNAL SERVER ERROR", "An internal server error has occurred."),
        ),
    ]
}

fn invalid_id() -> Row {
    let description = "A 24-byte hex ID similar to this: 507f191e810c19729de860ea is expected.";
    let body = full(400, "Parameter {user_id} is not in valid format!", description);
    row(400, "invalid-id", "The id is not 24 hex digits. `{user_id}` is literal.", Known, body)
}

fn for_users() -> Vec<Row> {
    let description = "User not found or already removed. A new operation for the same resource is not required.";
    let body = full(404, "User not found!", description);
    vec![invalid_id(), row(404, "not-found", "There is no such user.", Known, body)]
}

fn for_bodies(field: &str, missing: &str, are_required: &str) -> Vec<Row> {
    let invalid = |rule: &str| full(400, "One or more request fields are invalid...", &format!("{field} {rule}"));
    let not_json = "Please verify that the JSON provided in the request body has a valid format and try again.";
    vec![
        row(
            400,
            "not-json",
            "The body is no JSON, or neither object nor array.",
            Known,
            full(400, "Unable to process request body!", not_json),
        ),
        row(400, "missing", "Members are absent.", Known, full(400, missing, are_required)),
        row(400, "not-a-string", "A member is no text.", Known, invalid("must be a string!")),
        row(400, "empty", "A member is empty.", Known, invalid("must have at least one character!")),
        row(
            400,
            "policy",
            "The tenant's policy refuses the password.",
            Inferred,
            invalid("must have at least 15 characters"),
        ),
        row(
            413,
            "too-large",
            "The body is larger than 64 KiB.",
            Inferred,
            full(413, "Unable to process request body!", "The request body is larger than 64 KiB."),
        ),
    ]
}
