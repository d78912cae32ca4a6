//! What the nouns' secrets share: where a new one comes from, how it is kept, how it is read back.

use std::{collections::BTreeMap, fmt};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::Ops;
use crate::{
    crypto::{DataKey, Place, Verifier, same_password},
    domain::{
        Error, Material, Password, Policy, Result, Secret, Slot, Stage, Subject, Timestamp, Violation, generator,
        rotation::Refusal,
    },
};

/// Where a new secret comes from.
#[derive(Debug)]
pub enum Source {
    /// From the caller; under which field of the request, for errors.
    Given(Password, &'static str),
    /// From the generator, in this length or the policy's own.
    Generate(Option<u32>),
}

impl Ops {
    /// The secret itself, after the policy was asked, and whether it was made here.
    pub(super) async fn decide(&self, policy: &Policy, source: Source, context: &[&str]) -> Result<(Password, bool)> {
        match source {
            Source::Given(password, field) => {
                let broken = self.violations(policy, &password, context).await?;
                if broken.is_empty() {
                    return Ok((password, false));
                }
                Err(Error::policy(broken.into_iter().map(|rule| Violation::of_rule(field, rule)).collect()))
            }
            Source::Generate(length) => {
                let length = length.unwrap_or(policy.generated_length);
                let most = policy.max_length.min(Policy::MAX_GENERATED_LENGTH);
                let least = policy.min_length.max(Policy::MIN_GENERATED_LENGTH.min(most));
                if !(least..=most).contains(&length) {
                    let rule = format!("must be from {least} to {most} under the tenant's policy");
                    return Err(Error::policy(vec![Violation::new("generate.length", rule)]));
                }
                Ok((generator::generate(policy, length, &*self.entropy), true))
            }
        }
    }

    /// A password as it is kept for who only ever checks it.
    pub(super) fn keep_verifier(
        &self,
        key: &DataKey,
        subject: &Subject,
        version: i64,
        now: Timestamp,
        verifier: &Verifier,
    ) -> Result<Secret> {
        let place = place(subject, &Slot::Password, version);
        let payload = key.seal(place, verifier.as_bytes(), &*self.entropy)?;
        let scheme = Some(verifier.scheme()?);
        Ok(Secret { scheme, ..new_secret(subject, Slot::Password, version, now, Material::Verifier, payload, key) })
    }

    /// A password as it is kept for who may be shown it.
    pub(super) fn keep_password(
        &self,
        key: &DataKey,
        subject: &Subject,
        version: i64,
        now: Timestamp,
        password: &Password,
    ) -> Result<Secret> {
        let payload = key.seal_password(place(subject, &Slot::Password, version), password, &*self.entropy)?;
        Ok(new_secret(subject, Slot::Password, version, now, Material::Sealed, payload, key))
    }

    /// A third party's settings as they are kept.
    pub(super) fn keep_settings(
        &self,
        key: &DataKey,
        subject: &Subject,
        version: i64,
        now: Timestamp,
        settings: &Settings,
    ) -> Result<Secret> {
        let payload = key.seal_settings(place(subject, &Slot::Settings, version), &settings.0, &*self.entropy)?;
        Ok(new_secret(subject, Slot::Settings, version, now, Material::Sealed, payload, key))
    }

    /// An API token as it is kept: its keyed digest.
    pub(super) fn keep_token(
        &self,
        subject: &Subject,
        id: &str,
        version: i64,
        now: Timestamp,
        token: &SecretString,
    ) -> Secret {
        let (key_id, digest) = self.keyring().digest(token);
        let slot = Slot::ApiToken(id.to_owned());
        Secret {
            subject_uid: subject.uid.clone(),
            lookup_key: slot.lookup_key(),
            slot,
            version,
            stage: Stage::Current,
            material: Material::Digest,
            payload: digest.to_vec(),
            scheme: None,
            key_id,
            read_only: false,
            must_change: false,
            create_time: now,
            stage_time: now,
            expire_time: None,
            own_expire_time: None,
            last_used_time: None,
            use_count: 0,
        }
    }

    /// A user's verifier, opened; `None` where there is none in force.
    pub(super) async fn verifier(&self, found: Option<&(Subject, Vec<Secret>)>) -> Result<Option<Verifier>> {
        let now = self.now();
        let Some((subject, secrets)) = found else { return Ok(None) };
        let Some(secret) = in_force(secrets, &Slot::Password, now) else { return Ok(None) };
        self.open_verifier(subject, secret).await.map(Some)
    }

    /// One of a user's verifiers, opened.
    pub(super) async fn open_verifier(&self, subject: &Subject, secret: &Secret) -> Result<Verifier> {
        let key = self.data_keys.by_id(&subject.tenant_uid, &secret.key_id).await?;
        let phc = key.open(place(subject, &secret.slot, secret.version), &secret.payload)?;
        Ok(Verifier::from_stored(utf8(phc)?))
    }

    /// A subject's password in clear; `None` where there is none in force.
    pub(super) async fn open_password(&self, subject: &Subject, secrets: &[Secret]) -> Result<Option<Password>> {
        let Some(secret) = in_force(secrets, &Slot::Password, self.now()) else { return Ok(None) };
        let key = self.data_keys.by_id(&subject.tenant_uid, &secret.key_id).await?;
        key.open_password(place(subject, &secret.slot, secret.version), &secret.payload).map(Some)
    }

    /// One version of a subject's password in clear, whatever its stage, as long as it is not void.
    pub(super) async fn open_version(&self, subject: &Subject, secrets: &[Secret], version: i64) -> Result<Password> {
        let now = self.now();
        let live = |secret: &&Secret| {
            secret.slot == Slot::Password
                && secret.version == version
                && (secret.stage == Stage::Pending || secret.is_live(now))
        };
        let secret = secrets.iter().find(live);
        let secret = secret.ok_or_else(|| Error::from(Refusal::UnknownVersion))?;
        let key = self.data_keys.by_id(&subject.tenant_uid, &secret.key_id).await?;
        key.open_password(place(subject, &secret.slot, secret.version), &secret.payload)
    }

    /// A subject's passwords that are accepted now, with their versions: what is in force, and what was before it.
    pub(super) async fn open_accepted(&self, subject: &Subject, secrets: &[Secret]) -> Result<Accepted> {
        let (mut accepted, now) = (Accepted::default(), self.now());
        for (stage, opened) in [Stage::Current, Stage::Previous].into_iter().zip(&mut accepted) {
            let mut live = secrets.iter().filter(|secret| secret.slot == Slot::Password && secret.is_live(now));
            if let Some(secret) = live.find(|secret| secret.stage == stage) {
                let key = self.data_keys.by_id(&subject.tenant_uid, &secret.key_id).await?;
                let password = key.open_password(place(subject, &secret.slot, secret.version), &secret.payload)?;
                *opened = Some((secret.version, password));
            }
        }
        Ok(accepted)
    }

    /// A third party's settings in clear; empty where there are none.
    pub(super) async fn open_settings(&self, subject: &Subject, secrets: &[Secret]) -> Result<Settings> {
        let Some(secret) = in_force(secrets, &Slot::Settings, self.now()) else { return Ok(Settings::default()) };
        let key = self.data_keys.by_id(&subject.tenant_uid, &secret.key_id).await?;
        key.open_settings(place(subject, &secret.slot, secret.version), &secret.payload).map(Settings)
    }
}

/// What a third party handed over, by name.
#[derive(Default)]
pub struct Settings(pub BTreeMap<String, Zeroizing<String>>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings([{} redacted])", self.0.len())
    }
}

/// The passwords of a subject that are accepted, with their versions.
pub(super) type Accepted = [Option<(i64, Password)>; 2];

/// Which of them a password is. It is compared with as many whether or not there are any, and with all whichever it is.
pub(super) fn which(accepted: &Accepted, shown: &Password) -> Option<i64> {
    let compared = accepted.each_ref().map(|kept| {
        let same = same_password(kept.as_ref().map(|(_, password)| password), shown);
        kept.as_ref().map(|(version, _)| *version).filter(|_| same)
    });
    compared.into_iter().flatten().next()
}

pub(super) fn place<'a>(subject: &'a Subject, slot: &'a Slot, version: i64) -> Place<'a> {
    Place { tenant: &subject.tenant_uid, subject: &subject.uid, slot, version }
}

/// The newest secret of a slot that is accepted now.
pub(super) fn in_force<'a>(secrets: &'a [Secret], slot: &Slot, now: Timestamp) -> Option<&'a Secret> {
    secrets.iter().find(|secret| secret.slot == *slot && secret.stage == Stage::Current && secret.is_live(now))
}

/// The password that was last set, whether or not it has ended since.
pub(super) fn in_stage(secrets: &[Secret]) -> Option<&Secret> {
    secrets.iter().find(|secret| secret.slot == Slot::Password && secret.stage == Stage::Current)
}

pub(super) fn new_secret(
    subject: &Subject,
    slot: Slot,
    version: i64,
    now: Timestamp,
    material: Material,
    payload: Vec<u8>,
    key: &DataKey,
) -> Secret {
    Secret {
        subject_uid: subject.uid.clone(),
        lookup_key: slot.lookup_key(),
        slot,
        version,
        stage: Stage::Current,
        material,
        payload,
        scheme: None,
        key_id: key.id().to_string(),
        read_only: false,
        must_change: false,
        create_time: now,
        stage_time: now,
        expire_time: None,
        own_expire_time: None,
        last_used_time: None,
        use_count: 0,
    }
}

fn utf8(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>> {
    let text = String::from_utf8(std::mem::take(&mut *bytes));
    // The error would hold the bytes.
    text.map(Zeroizing::new).map_err(|error| Error::internal(error.utf8_error()))
}
