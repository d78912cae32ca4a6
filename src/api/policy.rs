//! `PolicyService`.

use tonic::{Request, Response, Status};

use crate::{
    ops::Ops,
    proto::{self, policy_service_server::PolicyService},
};

pub(super) struct PolicyApi {
    _ops: Ops,
}

impl PolicyApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { _ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl PolicyService for PolicyApi {
    async fn explain_policy(
        &self,
        _request: Request<proto::ExplainPolicyRequest>,
    ) -> Result<Response<proto::ExplainPolicyResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn check_password(
        &self,
        _request: Request<proto::CheckPasswordRequest>,
    ) -> Result<Response<proto::CheckPasswordResponse>, Status> {
        Err(super::error::unimplemented())
    }
}
