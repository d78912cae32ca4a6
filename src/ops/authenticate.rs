//! Who calls: from a credential to a caller.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::{Call, Ops, known::Bearer, secret::place};
use crate::{
    access::{
        Access, Caller, Credential, Finding, Grant, Proof, ProofKind, credential::invalid, jwt, signed_date::SignedDate,
    },
    audit::{Outcome, Target},
    crypto::{Keyring, Mark, signature::password_signs, token::token_id},
    domain::{
        Error, Password, Reach, Reason, ResourceId, Result, Secret, Slot, Stage, SubjectKind, SubjectRef, SubjectState,
        Tenant, Timestamp, tenant::JwtIssuer,
    },
    metrics::UseOf,
    store::FoundCredential,
};

impl Ops {
    /// The caller that a credential proves.
    ///
    /// # Errors
    /// Credential invalid or expired; everything that can be wrong with a signature; store unavailable.
    pub async fn authenticate(&self, credential: &Credential) -> Result<Arc<Caller>> {
        match credential {
            Credential::Bearer(token) => {
                #[expect(clippy::disallowed_methods, reason = "checked here")]
                let token = token.expose_secret();
                // What is known has a short way; the others would be carried about on it.
                match jwt::Token::read(token) {
                    Some(jwt) => Box::pin(self.by_jwt_or_token(token, &jwt)).await,
                    None => self.by_token(token).await,
                }
            }
            Credential::SignedDate(signed) => Box::pin(self.by_signed_date(signed)).await.map(Arc::new),
        }
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

    async fn by_jwt_or_token(&self, token: &str, jwt: &jwt::Token<'_>) -> Result<Arc<Caller>> {
        if let Some(ours) = self.by_own_token(jwt).await? {
            return Ok(Arc::new(ours));
        }
        let trusting = match jwt.issuer() {
            Some(issuer) => self.trusting(issuer).await?,
            None => Vec::new(),
        };
        // What looks like a JWT, but of nobody that is known, may still be a token that was handed to us.
        if trusting.is_empty() { self.by_token(token).await } else { self.by_jwt(jwt, trusting).await.map(Arc::new) }
    }

    async fn by_token(&self, token: &str) -> Result<Arc<Caller>> {
        let (keyring, now) = (self.keyring(), self.now());
        let mark = self.marker.mark_token(token);
        // One under a key that was followed has to move.
        if let Some(bearer) = self.known_bearer(&mark, now)
            && keyring.digests_with(&bearer.token.key_id)
        {
            self.usage.note(UseOf::ApiToken, &bearer.token, now);
            return Ok(Arc::clone(&bearer.caller));
        }
        Box::pin(self.look_up_token(token, mark, &keyring)).await
    }

    async fn look_up_token(&self, token: &str, mark: Mark, keyring: &Keyring) -> Result<Arc<Caller>> {
        let now = self.now();
        let ids = match token_id(token) {
            Some(id) => vec![id.to_owned()],
            None => keyring.given_token_ids(token.as_bytes(), now),
        };
        let expired = || Error::new(Reason::CredentialExpired, "the token has expired");
        for id in ids {
            let slot = Slot::ApiToken(id);
            let mut found = self.known_credential(&slot).await?;
            let is_pending = |(found, _): &(Arc<FoundCredential>, _)| {
                version_of_token(found).is_some_and(|secret| secret.stage == Stage::Pending)
            };
            if found.as_ref().is_some_and(is_pending) {
                // It may have been promoted since.
                found = self.credential_anew(&slot).await?;
            }
            let Some((found, before)) = found else { continue };
            let secret = version_of_token(&found).filter(|secret| secret.stage != Stage::Revoked);
            let is_shown =
                |secret: &&Secret| keyring.digest_matches(&secret.key_id, token.as_bytes(), &secret.payload, now);
            if let Some(secret) = secret.filter(is_shown) {
                let caller = Arc::new(self.caller_of(&found, secret, ProofKind::ApiToken, expired)?);
                self.keep_bearer(mark, Bearer::new(&caller, secret), before);
                self.moves.offer(keyring, token, secret, now);
                return Ok(caller);
            }
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
                version: None,
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
        let slot = Slot::SigningKey(signed.api_key.clone());
        let unknown = || Error::new(Reason::ApiKeyUnknown, "no signing key has this API key");
        let revoked = || Error::new(Reason::ApiKeyRevoked, "the signing key was revoked or has expired");
        let message = signed.message();
        let signs = |shared_key: &Password| password_signs(shared_key, &message, &signed.signature);
        let (known, _) = self.known_credential(&slot).await?.ok_or_else(unknown)?;
        if let Some(secret) = self.proven(&known, signs).await? {
            return self.caller_of(&known, secret, ProofKind::SignedDate, revoked);
        }
        // It may be signed by a version that another replica has made since.
        let (found, _) = self.credential_anew(&slot).await?.ok_or_else(unknown)?;
        if let Some(secret) = self.proven(&found, signs).await? {
            return self.caller_of(&found, secret, ProofKind::SignedDate, revoked);
        }
        Err(if is_accepted(&found, self.now()) {
            Error::new(Reason::SignatureMismatch, "the signature is not right")
        } else {
            revoked()
        })
    }

    /// The version of a signing key whose shared key passes, of those that are accepted. Each is tried, whichever it is, so
    /// that the time does not tell.
    pub(super) async fn proven<'a>(
        &self,
        found: &'a FoundCredential,
        passes: impl Fn(&Password) -> bool,
    ) -> Result<Option<&'a Secret>> {
        let now = self.now();
        let mut proven = None;
        for secret in found.versions.iter().filter(|secret| secret.is_live(now)) {
            let key = self.data_keys.by_id(&found.tenant.uid, &secret.key_id).await?;
            let place = place(&found.subject, &secret.slot, secret.version);
            if passes(&key.open_password(place, &secret.payload)?) {
                proven = proven.or(Some(secret));
            }
        }
        Ok(proven)
    }

    /// Whose a version of a credential is that was shown, unless something keeps the caller out.
    pub(super) fn caller_of(
        &self,
        found: &FoundCredential,
        secret: &Secret,
        kind: ProofKind,
        expired: impl Fn() -> Error,
    ) -> Result<Caller> {
        let FoundCredential { subject, tenant, .. } = found;
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
        self.usage.note(used, secret, now);
        let proof = Proof {
            kind,
            name,
            version: Some((secret.version, secret.stage)),
            expire_time: secret.expire_time,
            read_only: secret.read_only,
            is_stale: false,
        };
        Ok(Caller::from_subject(subject, tenant, proof))
    }
}

/// The one version that a token finds.
fn version_of_token(found: &FoundCredential) -> Option<&Secret> {
    found.versions.first()
}

/// Whether a credential has a version that is accepted at this time.
pub(super) fn is_accepted(found: &FoundCredential, now: Timestamp) -> bool {
    found.versions.iter().any(|secret| secret.is_live(now))
}
