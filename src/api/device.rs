//! `DeviceService`.

use tonic::{Request, Response, Status};

use super::{
    answer::{answer, secret_text, soft_lock, state, timestamp, unless_overloaded},
    validate::{ByIdOrLogin, Either, Fields, MAX_PURPOSE, etag},
};
use crate::{
    domain::{Error, Password},
    ops::{
        Ops, Source,
        device::{CreateDevice, DeviceView, ResetAuthentication, VerifyAuthentication},
    },
    proto::{
        self, AuthenticationCheckResult, BatchVerifyAuthenticationsRequest, BatchVerifyAuthenticationsResponse,
        CreateDeviceRequest, CreateDeviceResponse, DeviceAuthentication, GetDeviceRequest, GetDeviceResponse,
        ResetAuthenticationRequest, ResetAuthenticationResponse, RevealAuthenticationRequest,
        RevealAuthenticationResponse, VerifyAuthenticationRequest, VerifyAuthenticationResponse, authentication_check,
        create_device_request, device_service_server::DeviceService, reset_authentication_request,
        verify_authentication_request,
    },
};

pub(super) struct DeviceApi {
    ops: Ops,
}

impl DeviceApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl DeviceService for DeviceApi {
    async fn create_device(
        &self,
        request: Request<CreateDeviceRequest>,
    ) -> Result<Response<CreateDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.new_id("device_id", &request.device_id);
            let user_name = fields.user_name(request.user_name);
            let source = match request.secret_source {
                Some(create_device_request::SecretSource::Password(given)) => {
                    fields.source("password", Either::Given(given))
                }
                Some(create_device_request::SecretSource::Generate(generate)) => {
                    fields.source("password", Either::Generate(generate))
                }
                None => Some(Source::Generate(None)),
            };
            let (Some(tenant), Some(id), Some(user_name), Some(source)) = (tenant, id, user_name, source) else {
                return Err(fields.error());
            };
            let (device, password) =
                self.ops.create_device(call, CreateDevice { tenant, id, user_name, source }).await?;
            let authentication = authentication(device.subject.login.clone(), Some(&password));
            Ok(CreateDeviceResponse { device: Some(device.into()), authentication: Some(authentication) })
        })
        .await
    }

    async fn get_device(&self, request: Request<GetDeviceRequest>) -> Result<Response<GetDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.id("device_id", &request.device_id);
            let (Some(tenant), Some(id)) = (tenant, id) else { return Err(fields.error()) };
            let device = self.ops.get_device(call, &tenant, id).await?;
            Ok(GetDeviceResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn reset_authentication(
        &self,
        request: Request<ResetAuthenticationRequest>,
    ) -> Result<Response<ResetAuthenticationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let device_id = fields.id("device_id", &request.device_id);
            let source = match request.secret_source {
                Some(reset_authentication_request::SecretSource::Password(given)) => {
                    fields.source("password", Either::Given(given)).map(Some)
                }
                Some(reset_authentication_request::SecretSource::Generate(generate)) => {
                    fields.source("password", Either::Generate(generate)).map(Some)
                }
                None if request.user_name.is_none() => {
                    fields.refuse("password", "must be given, or generate or user_name in its place")
                }
                None => Some(None),
            };
            let user_name = match request.user_name {
                Some(user_name) => fields.user_name(user_name).map(Some),
                None => Some(None),
            };
            let (Some(tenant), Some(device_id), Some(user_name), Some(source)) = (tenant, device_id, user_name, source)
            else {
                return Err(fields.error());
            };
            let return_current = request.return_current_password;
            let etag = etag(request.etag);
            let reset = ResetAuthentication { tenant, device_id, user_name, source, return_current, etag };
            let (device, password) = self.ops.reset_authentication(call, reset).await?;
            let authentication = authentication(device.subject.login.clone(), password.as_ref());
            Ok(ResetAuthenticationResponse { device: Some(device.into()), authentication: Some(authentication) })
        })
        .await
    }

    async fn reveal_authentication(
        &self,
        request: Request<RevealAuthenticationRequest>,
    ) -> Result<Response<RevealAuthenticationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.id("device_id", &request.device_id);
            let purpose = fields.short_text("purpose", request.purpose, MAX_PURPOSE);
            let (Some(tenant), Some(id), Some(purpose)) = (tenant, id, purpose) else { return Err(fields.error()) };
            let (subject, password) = self.ops.reveal_authentication(call, &tenant, id, purpose).await?;
            let authentication = authentication(subject.login, Some(&password));
            Ok(RevealAuthenticationResponse { authentication: Some(authentication) })
        })
        .await
    }

    async fn verify_authentication(
        &self,
        request: Request<VerifyAuthenticationRequest>,
    ) -> Result<Response<VerifyAuthenticationResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let subject = request.subject.map(|subject| match subject {
                verify_authentication_request::Subject::DeviceId(id) => ByIdOrLogin::Id(id),
                verify_authentication_request::Subject::UserName(login) => ByIdOrLogin::Login("user_name", login),
            });
            let device = fields.subject("device_id", subject);
            let password = fields.password("password", request.password);
            let from = fields.source_of(request.source);
            let (Some(tenant), Some(device), Some(password), Some(from)) = (tenant, device, password, from) else {
                return Err(fields.error());
            };
            let verify = VerifyAuthentication { tenant, device, password, from };
            let verified = self.ops.verify_authentication(call, verify).await?;
            Ok(VerifyAuthenticationResponse {
                verified: verified.is_some(),
                device_id: verified.map(|id| id.to_string()).unwrap_or_default(),
            })
        })
        .await
    }

    async fn batch_verify_authentications(
        &self,
        request: Request<BatchVerifyAuthenticationsRequest>,
    ) -> Result<Response<BatchVerifyAuthenticationsResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let checks = fields.checks(request.checks, |fields, check, path| {
                let subject = check.subject.map(|subject| match subject {
                    authentication_check::Subject::DeviceId(id) => ByIdOrLogin::Id(id),
                    authentication_check::Subject::UserName(login) => ByIdOrLogin::Login("user_name", login),
                });
                let device = fields.subject_in(path, "device_id", subject);
                let password = fields.password(&format!("{path}password"), check.password);
                let from = fields.source_in(path, check.source);
                Some(VerifyAuthentication {
                    tenant: tenant.clone()?,
                    device: device?,
                    password: password?,
                    from: from?,
                })
            });
            let (Some(_), Some(checks)) = (&tenant, checks) else { return Err(fields.error()) };
            let outcomes = self.ops.verify_authentications(call, checks).await;
            let results = outcomes.into_iter().map(|outcome| {
                let (verified, overloaded) = unless_overloaded(outcome)?;
                let device_id = verified.as_ref().map(ToString::to_string).unwrap_or_default();
                Ok(AuthenticationCheckResult { verified: verified.is_some(), device_id, overloaded })
            });
            Ok(BatchVerifyAuthenticationsResponse { results: results.collect::<Result<_, Error>>()? })
        })
        .await
    }

    async fn list_devices(
        &self,
        _request: Request<proto::ListDevicesRequest>,
    ) -> Result<Response<proto::ListDevicesResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn update_device(
        &self,
        _request: Request<proto::UpdateDeviceRequest>,
    ) -> Result<Response<proto::UpdateDeviceResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn delete_device(
        &self,
        _request: Request<proto::DeleteDeviceRequest>,
    ) -> Result<Response<proto::DeleteDeviceResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn lock_device(
        &self,
        _request: Request<proto::LockDeviceRequest>,
    ) -> Result<Response<proto::LockDeviceResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn unlock_device(
        &self,
        _request: Request<proto::UnlockDeviceRequest>,
    ) -> Result<Response<proto::UnlockDeviceResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn disable_device(
        &self,
        _request: Request<proto::DisableDeviceRequest>,
    ) -> Result<Response<proto::DisableDeviceResponse>, Status> {
        Err(super::error::unimplemented())
    }

    async fn enable_device(
        &self,
        _request: Request<proto::EnableDeviceRequest>,
    ) -> Result<Response<proto::EnableDeviceResponse>, Status> {
        Err(super::error::unimplemented())
    }
}

fn authentication(user_name: Option<String>, password: Option<&Password>) -> DeviceAuthentication {
    DeviceAuthentication {
        user_name: user_name.unwrap_or_default(),
        password: password.map(secret_text).unwrap_or_default(),
    }
}

impl From<DeviceView> for proto::Device {
    fn from(DeviceView { tenant_id, subject, soft_lock: lock }: DeviceView) -> Self {
        Self {
            tenant_id: tenant_id.to_string(),
            device_id: subject.id.to_string(),
            etag: subject.etag(),
            user_name: subject.login.unwrap_or_default(),
            state: state(subject.state).into(),
            create_time: Some(timestamp(subject.create_time)),
            update_time: Some(timestamp(subject.update_time)),
            soft_lock: lock.map(soft_lock),
            ..Default::default()
        }
    }
}
