//! Tokens that are got for other credentials: for people, by password; for callers, by what they sign with.
//!
//! They are checked without the database but for one row, which tells whether what they were got for still holds: a
//! token dies with its password or key, and with its user or caller.

use secrecy::SecretString;
use serde::Serialize;

use super::{
    Call, Ops,
    authenticate::is_accepted,
    secret::in_force,
    user::{RightPassword, VerifyPassword},
};
use crate::{
    access::{
        Caller, Proof, ProofKind,
        credential::invalid,
        jwt::{self, ACCESS_TOKEN, ACCESS_TOKEN_AUDIENCE, ACCESS_TOKEN_ISSUER, USER_TOKEN},
        signed_request::SignedRequest,
    },
    audit::{Outcome, Target},
    crypto::{
        keyring::TokenHeader,
        same_password,
        signature::{password_signs, sha256},
    },
    domain::{
        Error, Password, PublicKey, Reach, Reason, ResourceId, Result, Secret, Slot, Subject, SubjectKind, SubjectRef,
        SubjectState, Tenant, Timestamp, tenant::JwtAlgorithm,
    },
    store::FoundCredential,
};

/// How long an access token is good that was got for an API key and its shared key, in seconds.
const CLIENT_TTL_S: u32 = 3_600;
/// How long one is good that was got for a signature, in seconds: for the request that was signed, and its retries.
const SIGNATURE_TTL_S: u32 = 60;

/// A token that was just made.
#[derive(Debug)]
pub struct IssuedToken {
    /// All of it.
    pub token: SecretString,
    /// When it ends.
    pub expire_time: Timestamp,
    /// How long that is from now, in seconds.
    pub ttl_s: i64,
    /// Whose it is.
    pub subject_id: ResourceId,
}

/// What a user's token says. The members and their names are those that resource servers look at, and no others.
#[derive(Serialize)]
struct UserClaims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_type: Option<&'a str>,
    iss: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    aud: &'a str,
    iat: i64,
    exp: i64,
    scope: String,
}

/// What an access token says (RFC 9068), to us alone.
#[derive(Serialize)]
struct AccessClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    client_id: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
}

impl Ops {
    /// Answers a right password with a token for its user. Unknown, wrong, disabled, locked and a source that has to wait
    /// cost and look the same.
    ///
    /// # Errors
    /// Login refused; token issuer not set, also where there is no such tenant; rate limited; overloaded.
    pub async fn issue_token(&self, call: &Call, request: VerifyPassword) -> Result<IssuedToken> {
        let not_set = || {
            let message = "there is no such tenant, or it issues no tokens: it has no token_issuer";
            Error::new(Reason::TokenIssuerNotSet, message)
        };
        let tenant = self.tenant_for_anybody(call, &request.tenant).await?.ok_or_else(not_set)?;
        let issuer = tenant.settings.token_issuer.as_deref().ok_or_else(not_set)?;
        self.limit_anybody(call.action, tenant.uid.as_str(), request.from.as_deref().unwrap_or_default())?;

        let verified = self.prove(call, &tenant, request).await?;
        let Some(RightPassword { user, version: epoch, must_change }) = verified else {
            return Err(Error::new(Reason::LoginRefused, "user name or password is wrong"));
        };
        if must_change {
            let message = "the password was chosen by somebody else: change it first";
            return Err(Error::new(Reason::PasswordChangeRequired, message));
        }

        let sub_type = user.attributes.labels.get(&issuer.subject_type_label).map(String::as_str);
        let now = self.now();
        let exp = now.seconds().saturating_add(issuer.ttl_s.into());
        let claims = UserClaims {
            sub: user.id.as_str(),
            sub_type,
            iss: &issuer.issuer,
            aud: &issuer.audience,
            iat: now.seconds(),
            exp,
            scope: issuer.scope_of(sub_type.unwrap_or_default()),
        };
        let header = TokenHeader { typ: USER_TOKEN, tid: tenant.uid.as_str(), epoch };
        let token = self.sign(issuer.algorithm, header, &claims)?;
        Ok(IssuedToken { token, expire_time: at(exp), ttl_s: issuer.ttl_s.into(), subject_id: user.id })
    }

    /// Answers an API key and its shared key with an access token. Unknown, wrong, revoked, expired and of a caller out of
    /// use look the same.
    ///
    /// # Errors
    /// Credential invalid; token issuer not set, where no key signs; rate limited.
    pub async fn exchange_client_credentials(
        &self,
        call: &Call,
        client_id: String,
        client_secret: Password,
    ) -> Result<IssuedToken> {
        let refused = || Error::new(Reason::CredentialInvalid, "client id or client secret is wrong");
        self.limit_anybody(call.action, &client_id, "")?;
        let found = self.store.credential(&Slot::SigningKey(client_id.clone()).to_stored()).await?;
        let Some(found) = found else { return Err(refused()) };
        let _ = call.scope.set(found.tenant.uid.clone());
        self.limit_tenant(&found.tenant)?;
        self.audited(call, Target::Subject(SubjectKind::Caller, found.subject.id.to_string()), async {
            let secret = self.proven(&found, |shared_key| same_password(Some(shared_key), &client_secret)).await?;
            let secret = secret.ok_or_else(refused)?;
            self.access_token(call, &client_id, &found, secret, CLIENT_TTL_S).await.map_err(|error| {
                let of_the_key = [Reason::CredentialExpired, Reason::CredentialInvalid].contains(&error.reason());
                if of_the_key { refused() } else { error }
            })
        })
        .await
    }

    /// Answers the signature of a request that the caller has seen with a short access token of its signer. A signature
    /// of a request that writes is good once, and once more for as long as two requests of one second may take to come.
    ///
    /// # Errors
    /// Everything that can be wrong with a signature; token issuer not set, where no key signs.
    pub async fn exchange_signature(&self, call: &Call, signed: SignedRequest) -> Result<IssuedToken> {
        self.audited(call, Target::None, async {
            let now = self.now();
            signed.check_date(now)?;
            let found = self.store.credential(&Slot::SigningKey(signed.access_key.clone()).to_stored()).await?;
            let caller = call.grant.caller();
            let found = found.filter(|found| caller.reaches_all || found.tenant.uid == caller.tenant_uid);
            let found = found.ok_or_else(|| Error::new(Reason::ApiKeyUnknown, "no signing key has this access key"))?;
            let _ = call.scope.set(found.tenant.uid.clone());
            self.limit_tenant(&found.tenant)?;
            let revoked = || Error::new(Reason::ApiKeyRevoked, "the signing key was revoked or has expired");
            if !is_accepted(&found, now) || found.subject.state != SubjectState::Active {
                return Err(revoked());
            }
            let message = signed.message(&sha256(signed.canonical()));
            let secret =
                self.proven(&found, |shared_key| password_signs(shared_key, &message, &signed.signature)).await?;
            let mismatch = || Error::new(Reason::SignatureMismatch, "the signature is not right");
            let secret = secret.ok_or_else(mismatch)?;
            if signed.writes() {
                self.use_once(&signed, &message, now).await?;
            }
            self.access_token(call, &signed.access_key, &found, secret, SIGNATURE_TTL_S).await
        })
        .await
    }

    /// The public keys by which tokens are checked.
    ///
    /// # Errors
    /// Rate limited.
    pub fn key_set(&self, call: &Call) -> Result<Vec<PublicKey>> {
        self.limit_anybody(call.action, "", "")?;
        Ok(self.keyring().public_keys())
    }

    /// In the database, so that it holds on every replica and over a restart.
    async fn use_once(&self, signed: &SignedRequest, message: &[u8], now: Timestamp) -> Result<()> {
        let message = String::from_utf8_lossy(message);
        let digest = self.keyring().attempt_mark(&["signature", &signed.access_key, &message]);
        // Its date may lie ahead as far as behind.
        let first = self.store.use_signature(digest, now, now.plus(SignedRequest::WINDOW * 2)).await?;
        if first.distance(now) > SignedRequest::REPEATED_WITHIN {
            return Err(Error::new(Reason::SignatureMismatch, "the signature was used before"));
        }
        Ok(())
    }

    /// An access token of the caller whose signing key this is, no longer good than the key; recorded.
    async fn access_token(
        &self,
        call: &Call,
        client_id: &str,
        found: &FoundCredential,
        secret: &Secret,
        ttl_s: u32,
    ) -> Result<IssuedToken> {
        let now = self.now();
        let end = secret.expire_time.map_or(i64::MAX, Timestamp::seconds);
        let exp = now.seconds().saturating_add(ttl_s.into()).min(end);
        // Whatever keeps a caller out keeps it from tokens.
        let expired = || Error::new(Reason::CredentialExpired, "the key has expired");
        self.caller_of(found, secret, ProofKind::SignedDate, expired)?;
        let FoundCredential { subject, tenant, .. } = found;
        let jti = self.make_uid(now);
        let claims = AccessClaims {
            iss: ACCESS_TOKEN_ISSUER,
            aud: ACCESS_TOKEN_AUDIENCE,
            sub: subject.uid.as_str(),
            client_id,
            iat: now.seconds(),
            exp,
            jti: jti.as_str(),
        };
        let algorithm = self.keyring().signing_algorithm().ok_or_else(no_key)?;
        let header = TokenHeader { typ: ACCESS_TOKEN, tid: tenant.uid.as_str(), epoch: secret.version };
        let token = self.sign(algorithm, header, &claims)?;
        let target = Target::Subject(SubjectKind::Caller, subject.id.to_string());
        let detail = format!("access token {jti} for the key {client_id}");
        self.journal.write(call.record(self, target, Outcome::Succeeded, None, detail)).await;
        let (ttl_s, subject_id) = (exp.saturating_sub(now.seconds()), subject.id.clone());
        Ok(IssuedToken { token, expire_time: at(exp), ttl_s, subject_id })
    }

    fn sign(&self, algorithm: JwtAlgorithm, header: TokenHeader<'_>, claims: &impl Serialize) -> Result<SecretString> {
        self.keyring().sign_token(algorithm, header, claims)?.ok_or_else(|| {
            let algorithm = algorithm.as_str();
            tracing::error!(algorithm, "no key of the keyring signs tokens so: add one with `rekey keys rotate`");
            no_key()
        })
    }

    /// The caller that a token of our own proves; `None` where it is not one of ours. What claims to be signed by one of
    /// our keys is ours or nobody's.
    pub(super) async fn by_own_token(&self, token: &jwt::Token<'_>) -> Result<Option<Caller>> {
        let keyring = self.keyring();
        let Some(key_id) = token.key_id().filter(|id| keyring.has_signing_key(id)) else { return Ok(None) };
        if !keyring.has_signed(key_id, token.algorithm(), token.message(), token.signature()) {
            return Err(invalid());
        }
        if token.is_of_kind(ACCESS_TOKEN) {
            self.by_access_token(token).await.map(Some)
        } else if token.is_of_kind(USER_TOKEN) {
            self.by_user_token(token).await.map(Some)
        } else {
            Err(invalid())
        }
    }

    async fn by_access_token(&self, token: &jwt::Token<'_>) -> Result<Caller> {
        let claims = token.claims(ACCESS_TOKEN_ISSUER, ACCESS_TOKEN_AUDIENCE, self.now())?;
        let client_id = token.claim("client_id").ok_or_else(invalid)?.to_owned();
        let found = self.store.credential(&Slot::SigningKey(client_id).to_stored()).await?.ok_or_else(invalid)?;
        // Of the key's versions it is good for as long as the one that it was got for.
        let bound = |secret: &&Secret| token.is_bound_to(found.tenant.uid.as_str(), secret.version);
        let secret = found.versions.iter().find(bound).filter(|_| found.subject.uid.as_str() == claims.sub);
        let secret = secret.ok_or_else(invalid)?;
        let expired = || Error::new(Reason::CredentialExpired, "the token has expired");
        let mut caller = self.caller_of(&found, secret, ProofKind::AccessToken, expired)?;
        caller.proof.expire_time = Some(claims.expire_time());
        Ok(caller)
    }

    async fn by_user_token(&self, token: &jwt::Token<'_>) -> Result<Caller> {
        let tenant = match token.issuer() {
            Some(issuer) => self.store.tenant_of_token_issuer(issuer).await?,
            None => None,
        };
        let tenant = tenant.filter(|tenant| tenant.state == SubjectState::Active).ok_or_else(invalid)?;
        let issuer = tenant.settings.token_issuer.as_deref().ok_or_else(invalid)?;
        let claims = token.claims(&issuer.issuer, &issuer.audience, self.now())?;
        let id = ResourceId::parse(&claims.sub).ok_or_else(invalid)?;
        let user = self.token_user(token, &tenant, id).await?.ok_or_else(invalid)?;
        let (permissions, own_permissions) = claims.permissions(&issuer.scope_grants, &tenant.settings);
        let Reach { permissions, roles, rank } = Reach::new(permissions, Vec::new(), user.attributes.rank);
        let proof = Proof {
            kind: ProofKind::Jwt,
            name: issuer.issuer.clone(),
            version: None,
            expire_time: Some(claims.expire_time()),
            read_only: false,
            is_stale: false,
        };
        Ok(Caller {
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
        })
    }

    /// The user of a token, where it is in use and its password is the one that the token was got for.
    async fn token_user(&self, token: &jwt::Token<'_>, tenant: &Tenant, id: ResourceId) -> Result<Option<Subject>> {
        let reference = SubjectRef::Id(id);
        let found = self.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await?;
        let now = self.now();
        let good = found.filter(|(subject, secrets)| {
            let password = in_force(secrets, &Slot::Password, now);
            let bound = password.is_some_and(|password| token.is_bound_to(tenant.uid.as_str(), password.version));
            bound && subject.state == SubjectState::Active
        });
        Ok(good.map(|(subject, _)| subject))
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

fn no_key() -> Error {
    Error::new(Reason::TokenIssuerNotSet, "the service has no key to sign such tokens with")
}
