//! `TokenService`.

use tonic::{Request, Response, Status};

use crate::{
    ops::Ops,
    proto::{self, token_service_server::TokenService},
};

pub(super) struct TokenApi {
    _ops: Ops,
}

impl TokenApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { _ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl TokenService for TokenApi {
    async fn exchange_client_credentials(
        &self,
        _request: Request<proto::ExchangeClientCredentialsRequest>,
    ) -> Result<Response<proto::ExchangeClientCredentialsResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn exchange_signature(
        &self,
        _request: Request<proto::ExchangeSignatureRequest>,
    ) -> Result<Response<proto::ExchangeSignatureResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn get_key_set(
        &self,
        _request: Request<proto::GetKeySetRequest>,
    ) -> Result<Response<proto::GetKeySetResponse>, Status> {
        Err(super::error::unimplemented())
    }
}
