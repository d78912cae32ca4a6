//! Who calls: from a credential to a caller.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::{Call, Ops, secret::place};
use crate::{
    access::{
        Access, Caller, Credential, Finding, Grant, Proof, ProofKind, credential::invalid, jwt, signed_date::SignedDate,
    },
    audit::{Outcome, Target},
    crypto::{signature::password_signs, token::token_id},
    domain::{
        Error, Password, Reach, Reason, ResourceId, Result, Slot, Stage, SubjectKind, SubjectRef, SubjectState, Tenant,
        tenant::JwtIssuer,
    },
    metrics::UseOf,
    store::FoundCredential,
};

impl Ops {
    /// The caller that a credential proves.
    ///
    /// # Errors
    /// Credential invalid or expired; everything that can be wrong with a signature; store unavailable.
    pub async fn authenticate(&self, credential: Credential) -> Result<Arc<Caller>> {
        let caller = match credential {
            Credential::Bearer(token) => {
                #[expect(clippy::disallowed_methods, reason = "checked here")]
                let token = token.expose_secret();
                match jwt::Token::read(token) {
                    Some(jwt) => self.by_jwt_or_token(token, &jwt).await?,
                    None => self.by_token(token).await?,
                }
            }
            Credential::SignedDate(signed) => self.by_signed_date(&signed).await?,
        };
        Ok(Arc::new(caller))
    }

    /// Lets a caller in to a method, or not; a refusal is recorded.
    ///
    /// # Errors
    /// Permission missing; API key read-only; not own subject.
    pub async fn authorise(
        &self,
        caller: &Arc<Caller>,
        access: Access,
        subject_id: Option<&str>,
        action: &'static str,
        request_id: &str,
    ) -> Result<Call> {
        let grant = caller.authorise(access).and_then(|grant| match subject_id {
            Some(id) => grant.about(Some(id)).map(|()| grant),
            None => Ok(grant),
        });
        match grant {
            Ok(grant) => Ok(Call::new(grant, action, request_id.to_owned())),
            Err(error) => {
                let anybody: Grant = caller.authorise(Access::AnyCaller)?;
                let call = Call::new(anybody, action, request_id.to_owned());
                let record = call.record(self, Target::None, Outcome::Denied, Some(error.reason()), String::new());
                self.journal.write(record).await;
                Err(error)
            }
        }
    }

    async fn by_jwt_or_token(&self, token: &str, jwt: &jwt::Token<'_>) -> Result<Caller> {
        if let Some(ours) = self.by_own_token(jwt).await? {
            return Ok(ours);
        }
        let trusting = match jwt.issuer() {
            Some(issuer) => self.trusting(issuer).await?,
            None => Vec::new(),
        };
        // What looks like a JWT, but of nobody that is known, may still be a token that was handed to us.
        if trusting.is_empty() { self.by_token(token).await } else { self.by_jwt(jwt, trusting).await }
    }

    async fn by_token(&self, token: &str) -> Result<Caller> {
        let (keyring, now) = (self.keyring(), self.now());
        let ids = match token_id(token) {
            Some(id) => vec![id.to_owned()],
            None => keyring.given_token_ids(token.as_bytes(), now),
        };
        for id in ids {
            let found = self.known_credential(&Slot::ApiToken(id)).await?;
            let Some(found) = found.filter(|found| found.secret.stage != Stage::Revoked) else { continue };
            if !keyring.digest_matches(&found.secret.key_id, token.as_bytes(), &found.secret.payload, now) {
                continue;
            }
            let found = Arc::unwrap_or_clone(found);
            let secret = found.secret.clone();
            let caller = self.caller_of(found, ProofKind::ApiToken, || {
                Error::new(Reason::CredentialExpired, "the token has expired")
            })?;
            self.moves.offer(&keyring, token, &secret, now);
            return Ok(caller);
        }
        Err(invalid())
    }

    async fn trusting(&self, issuer: &str) -> Result<Vec<(Tenant, JwtIssuer)>> {
        let tenants = self.known_issuer(issuer).await?.map(Arc::unwrap_or_clone).unwrap_or_default();
        let in_use = tenants.into_iter().filter(|tenant| tenant.state == SubjectState::Active);
        let pairs = in_use.flat_map(|tenant| {
            let issuers = tenant.settings.jwt_issuers.clone();
            issuers.into_iter().map(move |trusted| (tenant.clone(), trusted))
        });
        Ok(pairs.filter(|(_, trusted)| trusted.issuer == issuer).collect())
    }

    /// Several tenants may trust issuers of the same name; the key tells them apart.
    async fn by_jwt(&self, token: &jwt::Token<'_>, trusting: Vec<(Tenant, JwtIssuer)>) -> Result<Caller> {
        let mut refusal = invalid();
        for (tenant, trusted) in trusting {
            let claims = match jwt::verify(token, &trusted, self.now()) {
                Ok(claims) => claims,
                Err(error) => {
                    if error.reason() != Reason::CredentialInvalid {
                        refusal = error;
                    }
                    continue;
                }
            };
            // Whoever is a user here stands as high as that; to others the issuer gives
            // permissions, and a rank only with all of them.
            let mut rank = 0;
            if let Some(id) = ResourceId::parse(&claims.sub) {
                let user = self.store.subject(&tenant.uid, SubjectKind::User, &SubjectRef::Id(id)).await?;
                if let Some(user) = user {
                    Finding::State(user.state).obey()?;
                    rank = user.attributes.rank;
                }
            }
            let (permissions, own_permissions) = claims.permissions(&trusted.scope_grants, &tenant.settings);
            let Reach { permissions, roles, rank } = Reach::new(permissions, Vec::new(), rank);
            let max_age_s = trusted.max_auth_age_s;
            let is_stale = max_age_s > 0 && !claims.is_fresh(max_age_s, self.now());
            let proof = Proof {
                is_stale,
                kind: ProofKind::Jwt,
                name: trusted.issuer,
                expire_time: Some(claims.expire_time()),
                read_only: false,
            };
            return Ok(Caller {
                reaches_all: tenant.is_system(),
                tenant_uid: tenant.uid,
                tenant_id: tenant.id,
                id: claims.sub,
                limits: tenant.settings.limits,
                permissions,
                roles,
                rank,
                own_permissions,
                proof,
            });
        }
        Err(refusal)
    }

    async fn by_signed_date(&self, signed: &SignedDate) -> Result<Caller> {
        signed.check_date(self.now())?;
        let found = self.known_credential(&Slot::SigningKey(signed.api_key.clone())).await?;
        let found = found.map(Arc::unwrap_or_clone);
        let found = found.ok_or_else(|| Error::new(Reason::ApiKeyUnknown, "no signing key has this API key"))?;
        let revoked = || Error::new(Reason::ApiKeyRevoked, "the signing key was revoked or has expired");
        if !found.secret.is_live(self.now()) {
            return Err(revoked());
        }
        let shared_key = self.shared_key(&found).await?;
        if !password_signs(&shared_key, &signed.message(), &signed.signature) {
            return Err(Error::new(Reason::SignatureMismatch, "the signature is not right"));
        }
        self.caller_of(found, ProofKind::SignedDate, revoked)
    }

    /// The shared key of a signing key, in clear.
    pub(super) async fn shared_key(&self, found: &FoundCredential) -> Result<Password> {
        let key = self.data_keys.by_id(&found.tenant.uid, &found.secret.key_id).await?;
        let place = place(&found.subject, &found.secret.slot, found.secret.version);
        key.open_password(place, &found.secret.payload)
    }

    pub(super) fn caller_of(
        &self,
        found: FoundCredential,
        kind: ProofKind,
        expired: impl Fn() -> Error,
    ) -> Result<Caller> {
        let FoundCredential { secret, subject, tenant } = found;
        if let Some(end) = secret.expire_time.filter(|end| *end <= self.now()) {
            return Err(expired().expired_at(end));
        }
        let now = self.now();
        if !secret.is_live(now) || tenant.state != SubjectState::Active || subject.kind != SubjectKind::Caller {
            return Err(invalid());
        }
        Finding::State(subject.state).obey()?;
        let (used, name) = match &secret.slot {
            Slot::ApiToken(id) => (UseOf::ApiToken, id.clone()),
            Slot::SigningKey(api_key) => (UseOf::SigningKey, api_key.clone()),
            Slot::Password | Slot::Settings => return Err(invalid()),
        };
        self.usage.note(used, &secret, now);
        let proof = Proof { kind, name, expire_time: secret.expire_time, read_only: secret.read_only, is_stale: false };
        Ok(Caller::from_subject(&subject, &tenant, proof))
    }
}
