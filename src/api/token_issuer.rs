//! A tenant's `token_issuer`, in and out.

use super::{
    tenant::{MAX_ITEMS, MAX_NAME, bounded, scope, scope_grants},
    validate::Fields,
};
use crate::{
    access::jwt::ACCESS_TOKEN_ISSUER,
    domain::tenant::{JwtAlgorithm, TokenIssuer, TokenScopes},
    proto::{self, TokenAlgorithm},
};

const PATH: &str = "tenant.token_issuer";

/// The issuer of a tenant's own tokens.
pub(super) fn token_issuer(fields: &mut Fields, given: Option<proto::TokenIssuer>) -> Option<TokenIssuer> {
    let given = given?;
    let path = |name: &str| format!("{PATH}.{name}");
    let issuer = fields.text(&path("issuer"), given.issuer, MAX_NAME).unwrap_or_default();
    if issuer == ACCESS_TOKEN_ISSUER {
        fields.refuse::<()>(path("issuer"), "is that of Rekey's own tokens");
    }
    let algorithm = match TokenAlgorithm::try_from(given.algorithm) {
        Ok(TokenAlgorithm::Unspecified | TokenAlgorithm::Eddsa) => JwtAlgorithm::EdDSA,
        Ok(TokenAlgorithm::Es256) => JwtAlgorithm::ES256,
        Ok(TokenAlgorithm::Rs256) => JwtAlgorithm::RS256,
        Err(_) => {
            fields.refuse::<()>(path("algorithm"), "must be a TokenAlgorithm");
            JwtAlgorithm::EdDSA
        }
    };
    let ttl_s = match given.ttl {
        None => TokenIssuer::TTL_S,
        Some(ttl) => {
            let (least, most) = TokenIssuer::TTL_BOUNDS_S;
            let seconds =
                u32::try_from(ttl.seconds).ok().filter(|seconds| ttl.nanos == 0 && (least..=most).contains(seconds));
            seconds
                .or_else(|| fields.refuse(path("ttl"), "must be whole seconds, from a minute to 7 days"))
                .unwrap_or(least)
        }
    };
    let audience = fields.short_text(&path("audience"), given.audience, MAX_NAME);
    let label = fields.short_text(&path("subject_type_label"), given.subject_type_label, MAX_NAME);
    bounded(fields, &path("scopes"), &given.scopes);
    let mut scopes = Vec::new();
    for (index, of_type) in given.scopes.into_iter().take(MAX_ITEMS).enumerate() {
        let path = path(&format!("scopes[{index}]"));
        let subject_type = fields.short_text(&format!("{path}.subject_type"), of_type.subject_type, MAX_NAME);
        bounded(fields, &format!("{path}.scopes"), &of_type.scopes);
        let list = of_type.scopes.into_iter().take(MAX_ITEMS).enumerate();
        let list = list.filter_map(|(index, given)| scope(fields, &format!("{path}.scopes[{index}]"), given));
        let scopes_of_type = list.collect();
        scopes.push(TokenScopes { subject_type: subject_type.unwrap_or_default(), scopes: scopes_of_type });
    }
    let scope_grants = scope_grants(fields, PATH, given.scope_grants);
    Some(TokenIssuer {
        issuer,
        algorithm,
        ttl_s,
        audience: audience.unwrap_or_default(),
        subject_type_label: label.unwrap_or_default(),
        scopes,
        scope_grants,
    })
}

impl From<TokenIssuer> for proto::TokenIssuer {
    fn from(issuer: TokenIssuer) -> Self {
        let algorithm = match issuer.algorithm {
            JwtAlgorithm::EdDSA => TokenAlgorithm::Eddsa,
            JwtAlgorithm::ES256 => TokenAlgorithm::Es256,
            JwtAlgorithm::RS256 => TokenAlgorithm::Rs256,
        };
        let scopes =
            |scopes: TokenScopes| proto::TokenScopes { subject_type: scopes.subject_type, scopes: scopes.scopes };
        Self {
            issuer: issuer.issuer,
            algorithm: algorithm.into(),
            ttl: Some(prost_types::Duration { seconds: issuer.ttl_s.into(), nanos: 0 }),
            audience: issuer.audience,
            subject_type_label: issuer.subject_type_label,
            scopes: issuer.scopes.into_iter().map(scopes).collect(),
            scope_grants: issuer.scope_grants.into_iter().map(Into::into).collect(),
        }
    }
}
