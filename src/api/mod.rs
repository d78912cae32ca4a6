//! The gRPC face: decode, call `ops`, encode. One error table, one table of rules, one gate before all.
//!
//! To add an RPC: its proto with `rule` and `google.api.http`, a use case in `ops`, a method here in the file of its noun.
//! One that changes something has `request_id`, and nothing to do for it: `answer` and `Ops::commit` do.

mod answer;
mod audit;
mod caller;
mod credential;
mod device;
pub mod error;
mod gate;
pub mod health;
mod import;
mod integration;
mod job;
mod key;
mod listing;
mod mask;
mod named;
mod permission;
mod policy;
mod rotation;
pub mod rules;
mod serve;
mod tenant;
mod token;
mod token_issuer;
mod user;
mod validate;

use std::time::Duration;

use tonic::service::{Routes, RoutesBuilder};

pub use self::{
    gate::Gate,
    serve::{serve, tls},
};
use crate::{
    metrics::Calls,
    ops::Ops,
    proto::{
        DESCRIPTOR_SET, audit_service_server::AuditServiceServer, caller_service_server::CallerServiceServer,
        device_service_server::DeviceServiceServer, integration_service_server::IntegrationServiceServer,
        job_service_server::JobServiceServer, key_service_server::KeyServiceServer,
        policy_service_server::PolicyServiceServer, tenant_service_server::TenantServiceServer,
        token_service_server::TokenServiceServer, user_service_server::UserServiceServer,
    },
};

/// The largest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;
/// The largest answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Calls that are worked on at once, over all connections; half as many of one method.
pub const MAX_CALLS: usize = 256;
/// How long a call may take, whatever deadline its client set.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The services, each with its bounds.
///
/// # Errors
/// Where the descriptor set is not fit for reflection, which a test would show.
pub fn routes(ops: &Ops, reflection: bool) -> Result<Routes, tonic_reflection::server::Error> {
    macro_rules! bounded {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(MAX_REQUEST_BYTES)
                .max_encoding_message_size(MAX_ANSWER_BYTES)
        };
    }
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(bounded!(TenantServiceServer, tenant::TenantApi::new(ops)))
        .add_service(bounded!(UserServiceServer, user::UserApi::new(ops)))
        .add_service(bounded!(DeviceServiceServer, device::DeviceApi::new(ops)))
        .add_service(bounded!(IntegrationServiceServer, integration::IntegrationApi::new(ops)))
        .add_service(bounded!(CallerServiceServer, caller::CallerApi::new(ops)))
        .add_service(bounded!(PolicyServiceServer, policy::PolicyApi::new(ops)))
        .add_service(bounded!(TokenServiceServer, token::TokenApi::new(ops)))
        .add_service(bounded!(AuditServiceServer, audit::AuditApi::new(ops)))
        .add_service(bounded!(JobServiceServer, job::JobApi::new(ops)))
        .add_service(bounded!(KeyServiceServer, key::KeyApi::new(ops)));
    if reflection {
        let builder = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?);
    }
    Ok(routes.routes())
}

/// What every call passes, before the services. How many calls run and for how long is decided here and not by tonic, which
/// refuses without saying when to come again, or why.
#[must_use]
pub fn gate(ops: &Ops, calls: &Calls, routes: Routes) -> Gate {
    Gate::new(ops.clone(), calls.clone(), routes, MAX_CALLS, TIMEOUT)
}
