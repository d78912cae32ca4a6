//! What `rekey dev` prints: a request for each dialect, ready to paste into any terminal.

use std::path::{self, Path};

use super::values::{Values, quoted};

/// The requests. Each sources `demo.env` for itself, so that no secret is on the screen and each can be pasted alone.
pub(super) fn text(values: &Values, file: &Path) -> String {
    let file = path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let source = format!(". {} &&", quoted(&file.to_string_lossy()));
    let (grpc, http) = (&values.rekey_grpc, &values.rekey_http);
    format!(
        r#"Rekey is ready: gRPC on {grpc}, REST on {http}. Every value is in {file}.

# applivery: reset an integration
{source} curl -i -X DELETE "$REKEY_HTTP/v1/organizations/$APPLIVERY_ORGANIZATION_ID/integrations/harmony-mobile/" \
  -H "Authorization: Bearer $APPLIVERY_TOKEN"

# ocariot: reset a user's password
{source} curl -i -X POST "$REKEY_HTTP/v1/users/$OCARIOT_USER_ID/reset-password" \
  -H "Authorization: Bearer $OCARIOT_ADMIN_TOKEN" -H 'Content-Type: application/json' \
  -d "{{\"new_password\":\"$OCARIOT_PASSWORD\"}}"

# ocariot: sign in, for a token whose key is at $REKEY_HTTP/.well-known/jwks.json
{source} curl -i -X POST "$REKEY_HTTP/v1/auth" -H 'Content-Type: application/json' \
  -d "{{\"username\":\"$OCARIOT_USERNAME\",\"password\":\"$OCARIOT_PASSWORD\"}}"

# licensespring: change a password (here to itself, so that it can be pasted again)
{source} DATE="$(LC_ALL=C date -u '+%a, %d %b %Y %H:%M:%S GMT')" &&
SIGNATURE="$(printf 'licenseSpring\ndate: %s' "$DATE" | openssl dgst -sha256 -hmac "$LICENSESPRING_SHARED_KEY" -binary | base64)" &&
curl -i -X POST "$REKEY_HTTP/api/v4/change_password" -H "Date: $DATE" -H 'Content-Type: application/json' \
  -H "Authorization: algorithm=\"hmac-sha256\",headers=\"date\",signature=\"$SIGNATURE\",apiKey=\"$LICENSESPRING_API_KEY\"" \
  -d "{{\"username\":\"$LICENSESPRING_USERNAME\",\"password\":\"$LICENSESPRING_PASSWORD\",\"new_password\":\"$LICENSESPRING_PASSWORD\"}}"

# licensespring: a token for the same key, to be sent as Authorization: Bearer
{source} curl -i -X POST "$REKEY_HTTP/api/v4/oauth_token" -d grant_type=client_credentials \
  -d "client_id=$LICENSESPRING_API_KEY" -d "client_secret=$LICENSESPRING_SHARED_KEY"

# roma: reset a device's password
{source} curl -i -X PUT "$REKEY_HTTP/v2/$ROMA_PROJECT_ID/link/instances/$ROMA_INSTANCE_ID/devices/$ROMA_DEVICE_ID/authentication" \
  -H "X-Auth-Token: $ROMA_TOKEN" -H 'Content-Type: application/json' -d '{{}}'

# roma: show a product's password, signed by AK and SK as the vendor's SDK does
{source} DATE="$(date -u +%Y%m%dT%H%M%SZ)" && HOST="${{REKEY_HTTP#http://}}" && hash() {{ openssl dgst -sha256 -r "$@" | cut -d' ' -f1; }} &&
P="/v2/$ROMA_PROJECT_ID/link/instances/$ROMA_INSTANCE_ID/products/$ROMA_PRODUCT_ID/authentication" &&
CANONICAL="$(printf 'GET\n%s/\n\nhost:%s\nx-sdk-date:%s\n\nhost;x-sdk-date\n%s' "$P" "$HOST" "$DATE" "$(printf '' | hash)")" &&
SIGNATURE="$(printf 'SDK-HMAC-SHA256\n%s\n%s' "$DATE" "$(printf '%s' "$CANONICAL" | hash)" | hash -hmac "$ROMA_SK")" &&
curl -i "$REKEY_HTTP$P" -H "X-Sdk-Date: $DATE" \
  -H "Authorization: SDK-HMAC-SHA256 Access=$ROMA_AK, SignedHeaders=host;x-sdk-date, Signature=$SIGNATURE"

# gRPC: the same kind of reset, for the administrator, with a password made by the server
{source} grpcurl -plaintext -H "authorization: Bearer $REKEY_ADMIN_TOKEN" \
  -d "{{\"tenant_id\":\"ocariot\",\"user_id\":\"$OCARIOT_USER_ID\",\"generate\":{{}}}}" \
  "$REKEY_GRPC" rekey.v1.UserService/ResetPassword

Control-C stops it; the next start finds everything as it was left."#,
        file = file.display(),
    )
}
