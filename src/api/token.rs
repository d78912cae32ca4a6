//! `TokenService`.

use data_encoding::BASE64URL_NOPAD;
use tonic::{Request, Response, Status};

use super::{
    answer::{answer, timestamp, token_text},
    validate::Fields,
};
use crate::{
    access::signed_request::SignedRequest,
    domain::{PublicKey, tenant::JwtAlgorithm},
    ops::Ops,
    proto::{
        ExchangeClientCredentialsRequest, ExchangeClientCredentialsResponse, ExchangeSignatureRequest,
        ExchangeSignatureResponse, GetKeySetRequest, GetKeySetResponse, JsonWebKey, token_service_server::TokenService,
    },
};

/// The most characters of a key's name. A longer one is nobody's, and so is a shorter one that breaks the rule for keys.
const MAX_KEY_NAME: usize = 128;
/// The most bytes of a canonical request: of what the gateway takes, the body is not in it.
const MAX_CANONICAL: usize = 32 * 1024;

pub(super) struct TokenApi {
    ops: Ops,
}

impl TokenApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl TokenService for TokenApi {
    async fn exchange_client_credentials(
        &self,
        request: Request<ExchangeClientCredentialsRequest>,
    ) -> Result<Response<ExchangeClientCredentialsResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let id = fields.text("client_id", request.client_id, MAX_KEY_NAME);
            let secret = fields.password("client_secret", request.client_secret);
            let (Some(id), Some(secret)) = (id, secret) else { return Err(fields.error()) };
            let issued = self.ops.exchange_client_credentials(call, id, secret).await?;
            Ok(ExchangeClientCredentialsResponse {
                access_token: token_text(&issued.token),
                expire_time: Some(timestamp(issued.expire_time)),
                ttl: Some(prost_types::Duration { seconds: issued.ttl_s, nanos: 0 }),
            })
        })
        .await
    }

    async fn exchange_signature(
        &self,
        request: Request<ExchangeSignatureRequest>,
    ) -> Result<Response<ExchangeSignatureResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let access_key = fields.text("access_key", request.access_key, MAX_KEY_NAME);
            if request.canonical_request.len() > MAX_CANONICAL {
                fields.refuse::<()>("canonical_request", format!("must have at most {MAX_CANONICAL} bytes"));
            }
            let Some(access_key) = access_key else { return Err(fields.error()) };
            fields.finish()?;
            let signed = SignedRequest::read(access_key, request.date, &request.canonical_request, &request.signature)?;
            let issued = self.ops.exchange_signature(call, signed).await?;
            Ok(ExchangeSignatureResponse {
                access_token: token_text(&issued.token),
                expire_time: Some(timestamp(issued.expire_time)),
            })
        })
        .await
    }

    async fn get_key_set(&self, request: Request<GetKeySetRequest>) -> Result<Response<GetKeySetResponse>, Status> {
        answer(request, async |call, _request| {
            Ok(GetKeySetResponse { keys: self.ops.key_set(call)?.iter().map(key).collect() })
        })
        .await
    }
}

/// A key as RFC 7517 writes it (RFC 7518 section 6, RFC 8037 section 2).
fn key(public: &PublicKey) -> JsonWebKey {
    let parameter = |index: usize| public.parameters.get(index).map(|bytes| BASE64URL_NOPAD.encode(bytes));
    let [first, second] = [parameter(0), parameter(1)].map(Option::unwrap_or_default);
    let whole = JsonWebKey {
        kid: public.id.clone(),
        alg: public.algorithm.as_str().to_owned(),
        r#use: "sig".to_owned(),
        ..JsonWebKey::default()
    };
    let text = str::to_owned;
    match public.algorithm {
        JwtAlgorithm::RS256 => JsonWebKey { kty: text("RSA"), n: first, e: second, ..whole },
        JwtAlgorithm::ES256 => JsonWebKey { kty: text("EC"), crv: text("P-256"), x: first, y: second, ..whole },
        JwtAlgorithm::EdDSA => JsonWebKey { kty: text("OKP"), crv: text("Ed25519"), x: first, ..whole },
    }
}
