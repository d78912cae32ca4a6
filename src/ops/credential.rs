//! The versions of callers' credentials. A token or signing key is one slot for good; which of its versions are accepted
//! changes by the same rules as of every other secret.
//!
//! A version of a token is a token of its own, with an id of its own in it by which it is found. The versions of a
//! signing key share its API key, by which the first of them is found, and by it the others.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ATTEMPTS, Call, Ops, Plan, check_etag,
    reach::{may_equip, outranks},
    rotation::{self, Placement},
    secret::{new_secret, place},
};
use crate::{
    access::{Caller, ProofKind},
    audit::Target,
    crypto::token::{ApiToken, make_shared_key},
    domain::{
        Error, Material, Password, Reason, ResourceId, Result, Secret, Slot, Stage, Subject, SubjectKind, Tenant,
        TenantRef, Timestamp, Violation,
        rotation::{Act, Beginning, Step, Version, plan},
    },
    store::SecretChange,
};

const KIND: SubjectKind = SubjectKind::Caller;
/// The longest overlap of two versions: a credential that nobody has replaced for so long is not being rotated.
const MAX_OVERLAP: Duration = Duration::from_hours(90 * 24);

/// A caller's token or signing key, as a request names it.
#[derive(Debug)]
pub struct CredentialName {
    /// In which tenant.
    pub tenant: TenantRef,
    /// Whose.
    pub caller_id: ResourceId,
    /// Which; of a token the id of any of its versions will do.
    pub slot: Slot,
    /// What the caller must still be like.
    pub etag: Option<String>,
}

/// A credential's new version.
#[derive(Debug)]
pub struct Rotated {
    /// What names the credential, as before.
    pub id: String,
    /// The new token or shared key, where it was made here.
    pub secret: Option<SecretString>,
    /// The number of the new version.
    pub version: i64,
    /// All that are not void.
    pub versions: Vec<Secret>,
}

/// A credential with its versions, the newest first; there is at least one.
#[derive(Debug)]
pub struct CredentialView {
    /// Which.
    pub slot: Slot,
    /// Without those that are void, unless they were asked for.
    pub versions: Vec<Secret>,
}

impl CredentialView {
    /// Whether none of the versions is accepted or ever will be.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.versions.iter().all(|secret| secret.stage == Stage::Revoked)
    }

    /// When the last version that is accepted ends, or where none is, the newest; `None` where it never does.
    #[must_use]
    pub fn expire_time(&self) -> Option<Timestamp> {
        let accepted = self.versions.iter().filter(|secret| secret.stage.is_accepted());
        // Absence is the latest of all.
        let ends: Option<Vec<_>> = accepted.map(|secret| secret.expire_time).collect();
        let void = self.versions.first().and_then(|secret| secret.expire_time);
        ends.and_then(|ends| ends.into_iter().max().or(void))
    }
}

impl Ops {
    /// Gives a token a new version, which is made here.
    ///
    /// # Errors
    /// Fields invalid (an overlap that is too long, an end in the past); tenant, caller or credential not found; permission
    /// missing or rank too low, where the caller may do what the asker may not; what the act is refused for; etag mismatch;
    /// concurrent change.
    pub async fn rotate_api_token(&self, call: &Call, named: CredentialName, placement: Placement) -> Result<Rotated> {
        self.audited(call, named.target(), async {
            self.check_placement(placement)?;
            let (_, subject, slot) = self.credential_to_equip(call, &named).await?;
            let ApiToken { id, token } = ApiToken::make(&*self.entropy);
            let act = Act::Reset { beginning: placement.beginning, at_limit: placement.at_limit };
            let plan = |subject: &Subject, versions: &[Secret], now: Timestamp| -> Result<Vec<SecretChange>> {
                may_equip(call, subject)?;
                // Its own id finds it; where it is kept is what names them all.
                let kept = self.keep_token(subject, &id, subject.version + 1, now, &token);
                let new = Secret { slot: slot.clone(), expire_time: placement.expire_time, ..kept };
                changes(&slot, versions, act, now, |stage| Ok(Secret { stage, ..new.clone() }))
            };
            let detail = detail(&slot, placement, "generated");
            let (_, versions) = self.change_credential(call, subject, &named, &slot, &detail, plan).await?;
            rotated(&slot, versions, Some(token))
        })
        .await
    }

    /// Gives a signing key a new version, whose shared key is given or made here. It may do what the one before may.
    ///
    /// # Errors
    /// As [`Ops::rotate_api_token`].
    pub async fn rotate_signing_key(
        &self,
        call: &Call,
        named: CredentialName,
        given: Option<Password>,
        placement: Placement,
    ) -> Result<Rotated> {
        self.audited(call, named.target(), async {
            self.check_placement(placement)?;
            let (tenant, subject, slot) = self.credential_to_equip(call, &named).await?;
            let made = given.is_none();
            let shared_key = given.map_or_else(|| self.make_shared_key(), Ok)?;
            let key = self.data_keys.primary(&tenant.uid).await?;
            let act = Act::Reset { beginning: placement.beginning, at_limit: placement.at_limit };
            let plan = |subject: &Subject, versions: &[Secret], now: Timestamp| -> Result<Vec<SecretChange>> {
                may_equip(call, subject)?;
                let version = subject.version + 1;
                let payload = key.seal_password(place(subject, &slot, version), &shared_key, &*self.entropy)?;
                let new = new_secret(subject, slot.clone(), version, now, Material::Sealed, payload, &key);
                let read_only = versions.iter().any(|secret| secret.read_only);
                // The API key finds the first version, and by it this one.
                let new = Secret { lookup_key: None, read_only, expire_time: placement.expire_time, ..new };
                changes(&slot, versions, act, now, |stage| Ok(Secret { stage, ..new.clone() }))
            };
            let detail = detail(&slot, placement, if made { "generated" } else { "given" });
            let (_, versions) = self.change_credential(call, subject, &named, &slot, &detail, plan).await?;
            rotated(&slot, versions, made.then(|| shared_key.secret().clone()))
        })
        .await
    }

    /// Promotes, rolls back, swaps or revokes versions of a credential; its id, and those that are not void.
    ///
    /// # Errors
    /// Fields invalid (an overlap that is too long); tenant, caller or credential not found; permission missing or rank too
    /// low; what the act is refused for; own credential, where the version that the call is made with would be void by it and
    /// `allow_own` is not set; etag mismatch; concurrent change.
    pub async fn act_on_credential(
        &self,
        call: &Call,
        named: CredentialName,
        act: Act,
        allow_own: bool,
    ) -> Result<(String, Vec<Secret>)> {
        self.audited(call, named.target(), async {
            if let Act::Promote { overlap } = act {
                rotation::check(too_long(overlap).into_iter().collect())?;
            }
            let may = |subject: &Subject| match act {
                Act::Revoke { .. } => outranks(call, subject),
                // It puts a version into force.
                Act::Reset { .. } | Act::Promote { .. } | Act::RollBack | Act::Swap => may_equip(call, subject),
            };
            let (_, subject) = self.named_caller(call, &named.tenant, named.caller_id.clone()).await?;
            may(&subject)?;
            let slot = self.slot_of(&subject, &named.slot).await?;
            let own = own_version(call.grant.caller(), &slot).filter(|_| !allow_own);
            let plan = |subject: &Subject, versions: &[Secret], now: Timestamp| -> Result<Vec<SecretChange>> {
                may(subject)?;
                let none = |_| Err(Error::internal("an act on what there is that makes a version"));
                let changes = changes(&slot, versions, act, now, none)?;
                let ends = |change: &SecretChange| {
                    matches!(change, SecretChange::Move(_, moved)
                        if moved.to == Stage::Revoked && Some(moved.version) == own)
                };
                if changes.iter().any(ends) {
                    let message = "the call is made with the version that would be void by it; say allow_own";
                    return Err(Error::new(Reason::OwnCredential, message));
                }
                Ok(changes)
            };
            let told = rotation::detail(act);
            let told = if told.is_empty() { slot.to_stored() } else { format!("{}, {told}", slot.to_stored()) };
            let (_, versions) = self.change_credential(call, subject, &named, &slot, &told, plan).await?;
            let (Slot::ApiToken(id) | Slot::SigningKey(id)) = slot else { return Err(not_found()) };
            Ok((id, versions))
        })
        .await
    }

    /// A caller's tokens and signing keys with their versions, the newest first.
    ///
    /// # Errors
    /// Tenant or caller not found.
    pub async fn list_credentials(
        &self,
        call: &Call,
        tenant: &TenantRef,
        caller: ResourceId,
        show_revoked: bool,
    ) -> Result<Vec<CredentialView>> {
        let (_, subject) = self.named_caller(call, tenant, caller).await?;
        let (now, mut views) = (self.now(), Vec::<CredentialView>::new());
        for secret in self.store.credentials(&subject.uid, show_revoked).await? {
            // What has ended and is not in force is as good as void, though nobody has swept it away yet.
            let is_over = secret.stage != Stage::Current && secret.expire_time.is_some_and(|end| end <= now);
            match views.iter_mut().find(|view| view.slot == secret.slot) {
                _ if is_over && !show_revoked => {}
                Some(view) => view.versions.push(secret),
                None => views.push(CredentialView { slot: secret.slot.clone(), versions: vec![secret] }),
            }
        }
        for view in &mut views {
            view.versions.sort_by_key(|secret| std::cmp::Reverse(secret.version));
        }
        Ok(views)
    }

    /// A random shared key.
    pub(super) fn make_shared_key(&self) -> Result<Password> {
        #[expect(clippy::disallowed_methods, reason = "made here")]
        let text = make_shared_key(&*self.entropy).expose_secret().to_owned();
        Password::parse(text).map_err(Error::internal)
    }

    /// Where a credential of a caller is kept: a token may be named by the id of any of its versions, for that is what
    /// stands in the token.
    pub(super) async fn slot_of(&self, subject: &Subject, named: &Slot) -> Result<Slot> {
        let found = match named.lookup_key() {
            Some(lookup_key) => self.store.credential_slot(&subject.uid, &lookup_key).await?,
            None => None,
        };
        found.ok_or_else(not_found)
    }

    async fn credential_to_equip(&self, call: &Call, named: &CredentialName) -> Result<(Tenant, Subject, Slot)> {
        let (tenant, subject) = self.named_caller(call, &named.tenant, named.caller_id.clone()).await?;
        may_equip(call, &subject)?;
        let slot = self.slot_of(&subject, &named.slot).await?;
        Ok((tenant, subject, slot))
    }

    /// Changes versions of a credential by a plan. Where another change came first, it is decided anew on what the
    /// other left, unless there is an etag.
    async fn change_credential(
        &self,
        call: &Call,
        mut subject: Subject,
        named: &CredentialName,
        slot: &Slot,
        detail: &str,
        plan: impl Fn(&Subject, &[Secret], Timestamp) -> Result<Vec<SecretChange>>,
    ) -> Result<(Subject, Vec<Secret>)> {
        let plan = |subject: &Subject, versions: &[Secret], now: Timestamp| -> Result<Plan> {
            Ok(Plan { secrets: plan(subject, versions, now)?, ..Plan::default() })
        };
        check_etag(&subject, named.etag.as_deref())?;
        let mut attempt = 1;
        loop {
            // Read after their caller, whose version every change of them changes: so they are of that version, or it
            // fails.
            let versions = self.store.versions(&subject.uid, slot).await?;
            if versions.is_empty() {
                return Err(Error::new(Reason::CredentialNotFound, "the token or signing key is revoked"));
            }
            match Box::pin(self.try_change_with(call, &subject, &versions, detail, &plan)).await {
                Err(error) if error.reason() == Reason::ConcurrentChange && attempt < ATTEMPTS => {}
                done => return done,
            }
            attempt += 1;
            subject = self.again(subject, named.etag.as_deref()).await?;
        }
    }

    fn check_placement(&self, placement: Placement) -> Result<()> {
        let now = self.now();
        let late = placement.expire_time.filter(|end| *end <= now);
        let late = late.map(|_| Violation::new("expire_time", "must be in the future"));
        let overlap = match placement.beginning {
            Beginning::Current { overlap } => too_long(overlap),
            Beginning::Pending => None,
        };
        rotation::check(late.into_iter().chain(overlap).collect())
    }
}

impl CredentialName {
    fn target(&self) -> Target {
        Target::Subject(KIND, self.caller_id.to_string())
    }
}

fn not_found() -> Error {
    Error::new(Reason::CredentialNotFound, "the caller has no such token or signing key")
}

fn too_long(overlap: Duration) -> Option<Violation> {
    let rule = || format!("must be at most {} seconds", MAX_OVERLAP.as_secs());
    (overlap > MAX_OVERLAP).then(|| Violation::new("overlap", rule()))
}

/// What an act on a credential comes to; a new version is made for its stage.
fn changes(
    slot: &Slot,
    versions: &[Secret],
    act: Act,
    now: Timestamp,
    make: impl Fn(Stage) -> Result<Secret>,
) -> Result<Vec<SecretChange>> {
    let versions: Vec<Version> = versions.iter().map(Version::from).collect();
    let changes = plan(&versions, act, now)?.into_iter().map(|step| match step {
        Step::Move(moved) => Ok(SecretChange::Move(slot.clone(), moved)),
        Step::Add(stage) => make(stage).map(SecretChange::Add),
    });
    changes.collect()
}

/// Which version of this credential a call is made with, where it is made with one.
fn own_version(caller: &Caller, slot: &Slot) -> Option<i64> {
    let is_own = match (caller.proof.kind, slot) {
        (ProofKind::ApiToken, Slot::ApiToken(name))
        | (ProofKind::SignedDate | ProofKind::AccessToken, Slot::SigningKey(name)) => *name == caller.proof.name,
        _ => false,
    };
    caller.proof.version.filter(|_| is_own).map(|(version, _)| version)
}

fn rotated(slot: &Slot, versions: Vec<Secret>, secret: Option<SecretString>) -> Result<Rotated> {
    let (Slot::ApiToken(id) | Slot::SigningKey(id)) = slot else { return Err(not_found()) };
    let version = versions.first().map(|newest| newest.version);
    let version = version.ok_or_else(|| Error::internal("a rotation that left no version"))?;
    Ok(Rotated { id: id.clone(), secret, version, versions })
}

/// For the record; which versions moved where is added by the change.
fn detail(slot: &Slot, placement: Placement, made: &str) -> String {
    let slot = slot.to_stored();
    match placement.beginning {
        Beginning::Current { overlap } if !overlap.is_zero() => {
            format!("{slot} {made}, overlap {} s", overlap.as_secs())
        }
        Beginning::Current { .. } | Beginning::Pending => format!("{slot} {made}"),
    }
}
