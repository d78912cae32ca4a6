//! What the nouns' changes share: new subjects and tenants, and what stands for the database where nothing is written.

use super::{
    Call, Ops,
    repeat::{Names, named},
};
use crate::{
    audit::Record,
    crypto::Verifier,
    domain::{Error, Password, Reason, ResourceId, Result, Secret, Subject, Tenant, TenantRef, WrappedKey},
};

impl Ops {
    /// Writes a new subject with its secrets.
    pub(super) async fn insert_subject(
        &self,
        call: &Call,
        subject: Subject,
        secrets: Vec<Secret>,
        record: Record,
        names: Names<'_>,
    ) -> Result<()> {
        if call.validates() {
            let free = self.check_free(&subject, Some(&subject.id), subject.login.as_deref(), Vec::new()).await;
            return named(call, free, names);
        }
        let written = self.commit(call, record, move |store, record| async move {
            store.insert_subject(subject, secrets, record).await
        });
        named(call, written.await, names)
    }

    /// Whether names that a subject is to have are free, as far as a look tells: for where nothing is written, so that
    /// the database would not say so.
    pub(super) async fn check_free(
        &self,
        subject: &Subject,
        id: Option<&ResourceId>,
        login: Option<&str>,
        lookup_keys: Vec<String>,
    ) -> Result<()> {
        let taken = |field: &'static str| {
            Error::new(Reason::AlreadyExists, "something of this name exists already").with("field", field)
        };
        let (ids, logins) = (id.into_iter().map(ResourceId::as_str).collect(), login.into_iter().collect());
        let found = self.store.subjects_named(&subject.tenant_uid, subject.kind, ids, logins).await?;
        if found.iter().any(|other| Some(&other.id) == id) {
            return Err(taken("id"));
        }
        if found.iter().any(|other| other.uid != subject.uid && other.login.as_deref() == login) {
            return Err(taken("login"));
        }
        for lookup_key in lookup_keys {
            if self.store.credential(&lookup_key).await?.is_some() {
                return Err(taken("lookup_key"));
            }
        }
        Ok(())
    }

    /// Hashes a password that is to be kept; not where it is not.
    pub(super) async fn hash(&self, call: &Call, tenant: &Tenant, password: Password) -> Result<Verifier> {
        if call.validates() { Ok(self.hasher.of_nobody()) } else { self.hasher.hash(call.turn(tenant), password).await }
    }

    /// Writes a new tenant with its first key.
    pub(super) async fn insert_tenant(
        &self,
        call: &Call,
        tenant: Tenant,
        key: WrappedKey,
        record: Record,
    ) -> Result<()> {
        if call.validates() {
            let names = tenant.aliases.into_iter().map(|alias| (TenantRef::Alias(alias), "tenant.aliases"));
            for (name, field) in [(TenantRef::Id(tenant.id), "tenant.tenant_id")].into_iter().chain(names) {
                if self.store.tenant(&name, &tenant.uid).await?.is_some() {
                    return Err(Error::new(Reason::AlreadyExists, format!("{field} is taken")).with("field", field));
                }
            }
            return Ok(());
        }
        let written = self
            .commit(call, record, move |store, record| async move { store.insert_tenant(tenant, key, record).await });
        let names = ["tenant.tenant_id", "tenant.aliases", "tenant.token_issuer.issuer"].map(|name| (name, name));
        named(call, written.await, &names)
    }
}
