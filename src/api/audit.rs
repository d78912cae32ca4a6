//! `AuditService`.

use tonic::{Request, Response, Status};

use crate::{
    ops::Ops,
    proto::{self, audit_service_server::AuditService},
};

pub(super) struct AuditApi {
    _ops: Ops,
}

impl AuditApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { _ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn list_audit_records(
        &self,
        _request: Request<proto::ListAuditRecordsRequest>,
    ) -> Result<Response<proto::ListAuditRecordsResponse>, Status> {
        Err(super::error::unimplemented())
    }
}
