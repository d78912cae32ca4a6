//! Several processes of the service on one database.

use rekey::proto::{CreateTenantRequest, SecretPolicy, Tenant};
use tonic::{Code, Status};

use crate::{
    common::rekey::{Clients, reason},
    server::{Server, Site},
};

/// The tenant in which all of it happens.
pub(super) const TENANT: &str = "acme";

/// An installation and its processes.
pub(super) struct Fleet {
    pub(super) site: Site,
    pub(super) servers: Vec<Server>,
}

impl Fleet {
    /// So many on a new database of the tests' PostgreSQL, with a bug where one is named; `None` where there is no server.
    pub(super) async fn on_postgres(count: usize, bug: Option<&str>) -> Option<Self> {
        Some(Self::at(Site::on_postgres()?, count, bug).await)
    }

    /// So many on an installation.
    pub(super) async fn at(mut site: Site, count: usize, bug: Option<&str>) -> Self {
        without_limits(&mut site);
        if let Some(bug) = bug {
            site.plant(bug);
        }
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(site.serve().await);
        }
        let fleet = Self { site, servers };
        prepare(&mut fleet.admin(0)).await;
        fleet
    }

    /// Clients of the administrator at one of them.
    pub(super) fn admin(&self, which: usize) -> Clients {
        self.servers[which % self.servers.len()].clients(&self.site.admin_token)
    }

    /// The same at each of them.
    pub(super) fn admins(&self) -> Vec<Clients> {
        (0..self.servers.len()).map(|which| self.admin(which)).collect()
    }

    /// What they complained of.
    pub(super) fn errors(&self) -> Vec<String> {
        self.servers.iter().flat_map(errors).collect()
    }

    /// Ends them in order, so that what is still to be recorded is; what they were at fault in.
    pub(super) fn stop(self) -> (Site, Vec<String>) {
        let mut faults = Vec::new();
        for server in self.servers {
            let log = server.log();
            if log.contains("panicked") {
                faults.push(format!("a panic:\n{log}"));
            }
            let (status, log) = server.stop();
            if !status.success() {
                faults.push(format!("{status}:\n{log}"));
            }
        }
        (self.site, faults)
    }
}

/// What a process complained of lately.
pub(super) fn errors(server: &Server) -> Vec<String> {
    server.log().lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN ")).map(str::to_owned).collect()
}

/// Nobody is held up by rates or soft locks: what is asked here in seconds is more than what anybody asks.
pub(super) fn without_limits(site: &mut Site) {
    for limit in ["CALLER_PER_SECOND", "TENANT_PER_SECOND", "TARGET_PER_SECOND", "SOURCE_FAILURES_PER_MINUTE"] {
        site.set(&format!("REKEY_LIMITS__{limit}"), "0");
    }
    site.allow_many_failures();
}

/// Makes the tenant.
pub(super) async fn prepare(admin: &mut Clients) {
    let policy = SecretPolicy { reset_must_change: Some(false), ..SecretPolicy::default() };
    let tenant = Tenant {
        tenant_id: TENANT.to_owned(),
        change_password_allowed: true,
        user_policy: Some(policy),
        ..Tenant::default()
    };
    let request = CreateTenantRequest { tenant: Some(tenant), ..CreateTenantRequest::default() };
    admin.tenants.create_tenant(request).await.unwrap();
}

/// What an error says of whether the call was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was not: somebody else was faster.
    Raced,
    /// It was not: there was no room or no database for it.
    Shed,
    /// Nobody knows.
    Unknown,
}

/// What an error says that nobody is to blame for; the error, as a sentence, where the service is.
pub(super) fn refusal(status: &Status) -> Result<Refusal, String> {
    match (status.code(), reason(status).as_str()) {
        (Code::Aborted, "ETAG_MISMATCH" | "CONCURRENT_CHANGE") => Ok(Refusal::Raced),
        (Code::ResourceExhausted, _) | (Code::Unavailable, "STORE_UNAVAILABLE") => Ok(Refusal::Shed),
        (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled, _) | (_, "OUTCOME_UNKNOWN") => {
            Ok(Refusal::Unknown)
        }
        _ => Err(format!("{status:?}")),
    }
}
