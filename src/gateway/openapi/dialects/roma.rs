//! `roma`: device authentication of ROMA Connect LINK.

use serde_json::{Value, json};

use super::{Dialect, Inferred, Known, Operation, Row, answer, body, row, variable};

pub(super) const SIGNATURE: &str = "\
`roma`: the vendor's SDK signs the whole request: \
`SDK-HMAC-SHA256 Access=<AK>, SignedHeaders=<names>, Signature=<hex>`, with `X-Sdk-Date`. Where `X-Auth-Token` is there, \
it alone counts.";

pub(super) fn dialect() -> Dialect {
    let error = json!({
        "type": "object",
        "required": ["error_code", "error_msg", "request_id"],
        "additionalProperties": false,
        "properties": {
            "error_code": {"type": "string", "pattern": "^(SCB|ROMA|APIG)\\.[0-9]+$"},
            "error_msg": {"type": "string"},
            "request_id": {"type": "string", "description": "As in `X-Request-Id`."},
        },
    });
    let authentication = json!({
        "type": "object",
        "required": ["user_name", "password"],
        "additionalProperties": false,
        "properties": {"user_name": {"type": "string"}, "password": {"type": "string", "format": "password"}},
    });
    let (device, product) = (Target::Device, Target::Product);
    Dialect {
        name: "roma",
        description: "What devices sign in with: a user name and a password, which is shown in clear.",
        error: ("RomaError", error),
        error_type: "application/json",
        schemas: vec![("RomaAuthentication", authentication)],
        operations: vec![device.reset(), device.show(), product.reset(), product.show()],
    }
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Device,
    Product,
}

impl Target {
    fn path(self) -> &'static str {
        match self {
            Self::Device => "/v2/{project_id}/link/instances/{instance_id}/devices/{device_id}/authentication",
            Self::Product => "/v2/{project_id}/link/instances/{instance_id}/products/{product_id}/authentication",
        }
    }

    fn parameters(self) -> Vec<Value> {
        let text = json!({"type": "string"});
        let id = json!({"type": "integer", "minimum": 1, "maximum": 99_999_999_999_999_999_i64});
        let target = match self {
            Self::Device => variable("device_id", "The device: a positive integer.", &id),
            Self::Product => variable("product_id", "The product: one secret for a whole model.", &id),
        };
        vec![
            variable("project_id", "The project; `default` where there is none.", &text),
            variable("instance_id", "The instance; `default` where there is none.", &text),
            target,
        ]
    }

    fn reset(self) -> Operation {
        let (id, operation) = match self {
            Self::Device => ("roma_resetAuthentication", "link-device.resetAuthentication"),
            Self::Product => ("roma_resetProductAuthentication", "link-product.resetAuthentication"),
        };
        let request = json!({
            "type": "object",
            "properties": {
                "user_name": {"type": ["string", "null"], "description": "Letters, digits and `-`; kept where empty or absent."},
                "password": {"type": ["string", "null"], "format": "password", "description": "16 to 32 characters with a digit, \
                    an upper-case and a lower-case letter and one of `~!@#$%^&*()-_=+|[{}];:<>/?`, or what the tenant's \
                    policy says; kept where empty or absent."},
            },
        });
        let example = json!({"user_name": "device01", "password": "Abcdefgh1234567!"});
        Operation {
            id,
            method: "put",
            path: self.path(),
            summary: "Sets user name, password, or both",
            description: "Where neither is given, a password is made. With the name alone, the answer holds the password \
                          that is kept.",
            permission: Some(
                "`devices:resetAuthentication`; to see a kept password `devices:revealAuthentication` besides",
            ),
            security: &["token", "signedRequest"],
            parameters: self.parameters(),
            body: Some(body(false, &request, &example)),
            success: (200, answer("As it is now, in clear.", "RomaAuthentication", &example)),
            errors: self.errors(operation, true),
            error: None,
        }
    }

    fn show(self) -> Operation {
        let (id, operation) = match self {
            Self::Device => ("roma_showAuthentication", "link-device.showAuthentication"),
            Self::Product => ("roma_showProductAuthentication", "link-product.showAuthentication"),
        };
        let example = json!({"user_name": "device01", "password": "Abcdefgh1234567!"});
        Operation {
            id,
            method: "get",
            path: self.path(),
            summary: "Shows user name and password",
            description: "Recorded.",
            permission: Some("`devices:revealAuthentication`"),
            security: &["token", "signedRequest"],
            parameters: self.parameters(),
            body: None,
            success: (200, answer("In clear.", "RomaAuthentication", &example)),
            errors: self.errors(operation, false),
            error: None,
        }
    }

    fn errors(self, operation: &str, resets: bool) -> Vec<Row> {
        let error = |code: &str, message: &str| {
            let id = "0bf1fa9c-3e3e-4f0a-8f0e-6d3f2d3d6d0d-1718000000000-node1";
            json!({"error_code": code, "error_msg": message, "request_id": id})
        };
        let parameter = |name: &str, processor: &str| {
            let message = format!(
                "Parameter is not valid for operation [romalink.{operation}]. Parameter is [{name}]. \
                 Processor is [{processor}]."
            );
            error("SCB.00000000", &message)
        };
        let target = match self {
            Self::Device => "deviceOid",
            Self::Product => "productOid",
        };
        let iam = |message: &str| error("APIG.0301", &format!("Incorrect IAM authentication information: {message}"));
        let throttled = "The throttling threshold has been reached";
        let unknown = "The resource does not exist. Check whether the resource ID 1 is correct.";
        let mut rows = vec![
            row(400, "invalid-id", "The id is no such integer.", Known, parameter(target, "path")),
            row(400, "no-token", "Neither token nor signature.", Known, parameter("X-Auth-Token", "header")),
            row(401, "invalid-token", "The token does not verify.", Known, iam("decrypt token fail")),
            row(
                401,
                "expired-token",
                "The token has expired.",
                Known,
                iam("token expires, expires_at: 2026-01-01T00:00:00Z"),
            ),
            row(401, "signature", "The signature does not verify.", Known, iam("verify aksk signature fail")),
            row(
                403,
                "forbidden",
                "The permission is missing.",
                Known,
                error("ROMA.00012000", "No permissions to request this method"),
            ),
            row(404, "not-found", "Unknown; the id asked for is told.", Known, error("ROMA.00110006", unknown)),
            row(429, "throttled", "Too many calls.", Inferred, error("APIG.0308", throttled)),
            row(
                500,
                "no-instance",
                "The instance is unknown: yes, 500.",
                Known,
                error("ROMA.00110002", "The instance does not exist. project_id: proj01, instance_id: inst02"),
            ),
            row(500, "internal", "A fault of the server.", Known, error("ROMA.00011000", "System error")),
        ];
        if resets {
            let rules = "The parameter does not meet verification rules: [password:must have at least 16 characters]";
            rows.push(row(400, "body", "The body is no JSON, or of wrong types.", Known, parameter("body", "body")));
            rows.push(row(400, "rules", "A rule is broken; all are told.", Known, error("ROMA.00110001", rules)));
            let large = parameter("body", "body");
            rows.push(row(413, "too-large", "The body is larger than 64 KiB.", Inferred, large));
        }
        rows
    }
}
