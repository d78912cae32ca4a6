//! `DeviceService`.

use tonic::{Request, Response, Status};

use super::{
    answer::{answer, secret_text, soft_lock, state, timestamp, unless_overloaded},
    job,
    listing::page_of,
    mask::Mask,
    named::named,
    rotation::{Place, versions},
    validate::{ByIdOrLogin, Either, Fields, MAX_PURPOSE, etag},
};
use crate::{
    domain::{Error, Password, SubjectKind, Transition, rotation::Act},
    ops::{
        Ops, Source,
        device::{CreateDevice, DeviceView, ResetAuthentication, VerifyAuthentication},
        lifecycle::Changes,
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

const KIND: SubjectKind = SubjectKind::Device;
/// What `UpdateDevice` changes.
const UPDATABLE: &[&str] = &["user_name", "labels"];

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
            let labels = fields.labels("labels", request.labels);
            let source = match request.secret_source {
                Some(create_device_request::SecretSource::Password(given)) => {
                    fields.source("password", Either::Given(given))
                }
                Some(create_device_request::SecretSource::Generate(generate)) => {
                    fields.source("password", Either::Generate(generate))
                }
                None => Some(Source::Generate(None)),
            };
            let expire_time = fields.time("expire_time", request.expire_time);
            let (Some(tenant), Some(id), Some(user_name), Some(labels), Some(source), Some(expire_time)) =
                (tenant, id, user_name, labels, source, expire_time)
            else {
                return Err(fields.error());
            };
            let create = CreateDevice { tenant, id, user_name, labels, source, expire_time };
            let (device, password) = self.ops.create_device(call, create).await?;
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
            let ResetAuthenticationRequest { overlap, pending, at_limit, expire_time, .. } = request;
            let place = Place { overlap, pending, at_limit, expire_time };
            let placement =
                if matches!(source, Some(None)) { fields.no_placement(&place) } else { fields.placement(&place) };
            let (Some(tenant), Some(device_id), Some(user_name), Some(source), Some(placement)) =
                (tenant, device_id, user_name, source, placement)
            else {
                return Err(fields.error());
            };
            let return_current = request.return_current_password;
            let etag = etag(request.etag);
            let reset = ResetAuthentication { tenant, device_id, user_name, source, placement, return_current, etag };
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
            let version = fields.version_or_none(request.version);
            let (Some(tenant), Some(id), Some(purpose), Some(version)) = (tenant, id, purpose, version) else {
                return Err(fields.error());
            };
            let (subject, password) = self.ops.reveal_authentication(call, &tenant, id, version, purpose).await?;
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
            let subject = fields.subject("device_id", subject);
            let password = fields.password("password", request.password);
            let from = fields.source_of(request.source);
            let (Some(tenant), Some(subject), Some(password), Some(from)) = (tenant, subject, password, from) else {
                return Err(fields.error());
            };
            let verify = VerifyAuthentication { tenant, kind: KIND, subject, password, from };
            let right = self.ops.verify_authentication(call, &verify).await?;
            Ok(VerifyAuthenticationResponse {
                verified: right.is_some(),
                secret_version: right.as_ref().map(|right| right.version).unwrap_or_default(),
                device_id: right.map(|right| right.id.to_string()).unwrap_or_default(),
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
                let subject = fields.subject_in(path, "device_id", subject);
                let password = fields.password(&format!("{path}password"), check.password);
                let from = fields.source_in(path, check.source);
                Some(VerifyAuthentication {
                    tenant: tenant.clone()?,
                    kind: KIND,
                    subject: subject?,
                    password: password?,
                    from: from?,
                })
            });
            let (Some(_), Some(checks)) = (&tenant, checks) else { return Err(fields.error()) };
            let outcomes = self.ops.verify_authentications(call, checks).await;
            let results = outcomes.into_iter().map(|outcome| {
                let (right, overloaded) = unless_overloaded(outcome)?;
                Ok(AuthenticationCheckResult {
                    verified: right.is_some(),
                    overloaded,
                    secret_version: right.as_ref().map(|right| right.version).unwrap_or_default(),
                    device_id: right.map(|right| right.id.to_string()).unwrap_or_default(),
                })
            });
            Ok(BatchVerifyAuthenticationsResponse { results: results.collect::<Result<_, Error>>()? })
        })
        .await
    }

    type ResetManyStream = job::Progress<proto::ResetManyResponse>;

    async fn reset_many(
        &self,
        request: Request<proto::ResetManyRequest>,
    ) -> Result<Response<Self::ResetManyStream>, Status> {
        job::reset_many(&self.ops, request).await
    }

    async fn list_devices(
        &self,
        request: Request<proto::ListDevicesRequest>,
    ) -> Result<Response<proto::ListDevicesResponse>, Status> {
        answer(request, async |call, request| {
            let (tenant, page) = page_of(KIND, request.into())?;
            let page = self.ops.list_subjects(call, &tenant, KIND, page).await?;
            let shown = |kept| DeviceView::from(kept).into();
            Ok(proto::ListDevicesResponse {
                devices: page.items.into_iter().map(shown).collect(),
                next_page_token: page.next_token,
                total_size: page.total,
            })
        })
        .await
    }

    async fn update_device(
        &self,
        request: Request<proto::UpdateDeviceRequest>,
    ) -> Result<Response<proto::UpdateDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.device_id, request.etag);
            let mask = fields.mask(request.update_mask, "Device", UPDATABLE);
            let changes = changes(&mut fields, mask.as_ref(), request.device);
            let (Some(named), Some(_), Some(changes)) = (named, mask, changes) else { return Err(fields.error()) };
            let device: DeviceView = self.ops.update_subject(call, &named, &changes).await?.into();
            Ok(proto::UpdateDeviceResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn delete_device(
        &self,
        request: Request<proto::DeleteDeviceRequest>,
    ) -> Result<Response<proto::DeleteDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.device_id, request.etag)?;
            self.ops.delete_subject(call, &named, request.allow_missing).await?;
            Ok(proto::DeleteDeviceResponse {})
        })
        .await
    }

    async fn lock_device(
        &self,
        request: Request<proto::LockDeviceRequest>,
    ) -> Result<Response<proto::LockDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.device_id, request.etag)?;
            let device: DeviceView = self.ops.set_state(call, &named, Transition::Lock).await?.into();
            Ok(proto::LockDeviceResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn unlock_device(
        &self,
        request: Request<proto::UnlockDeviceRequest>,
    ) -> Result<Response<proto::UnlockDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.device_id, request.etag)?;
            let device: DeviceView = self.ops.set_state(call, &named, Transition::Unlock).await?.into();
            Ok(proto::UnlockDeviceResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn disable_device(
        &self,
        request: Request<proto::DisableDeviceRequest>,
    ) -> Result<Response<proto::DisableDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.device_id, request.etag)?;
            let device: DeviceView = self.ops.set_state(call, &named, Transition::Disable).await?.into();
            Ok(proto::DisableDeviceResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn enable_device(
        &self,
        request: Request<proto::EnableDeviceRequest>,
    ) -> Result<Response<proto::EnableDeviceResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.device_id, request.etag)?;
            let device: DeviceView = self.ops.set_state(call, &named, Transition::Enable).await?.into();
            Ok(proto::EnableDeviceResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn promote_secret(
        &self,
        request: Request<proto::PromoteSecretRequest>,
    ) -> Result<Response<proto::PromoteSecretResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.device_id, request.etag);
            let overlap = fields.whole_seconds("overlap", request.overlap);
            let (Some(named), Some(overlap)) = (named, overlap) else { return Err(fields.error()) };
            let act = Act::Promote { overlap };
            let device: DeviceView = self.ops.rotate_secret(call, &named, act).await?.into();
            Ok(proto::PromoteSecretResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn roll_back_secret(
        &self,
        request: Request<proto::RollBackSecretRequest>,
    ) -> Result<Response<proto::RollBackSecretResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.device_id, request.etag)?;
            let device: DeviceView = self.ops.rotate_secret(call, &named, Act::RollBack).await?.into();
            Ok(proto::RollBackSecretResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn swap_secrets(
        &self,
        request: Request<proto::SwapSecretsRequest>,
    ) -> Result<Response<proto::SwapSecretsResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.device_id, request.etag)?;
            let device: DeviceView = self.ops.rotate_secret(call, &named, Act::Swap).await?.into();
            Ok(proto::SwapSecretsResponse { device: Some(device.into()) })
        })
        .await
    }

    async fn revoke_secret(
        &self,
        request: Request<proto::RevokeSecretRequest>,
    ) -> Result<Response<proto::RevokeSecretResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.device_id, request.etag);
            let version = fields.version(request.version);
            let (Some(named), Some(version)) = (named, version) else { return Err(fields.error()) };
            let act = Act::Revoke { version, allow_last: request.allow_last };
            let device: DeviceView = self.ops.rotate_secret(call, &named, act).await?.into();
            Ok(proto::RevokeSecretResponse { device: Some(device.into()) })
        })
        .await
    }
}

/// What the mask names of a device; each field is looked at, so that everything wrong is told at once.
fn changes(fields: &mut Fields, mask: Option<&Mask>, device: Option<proto::Device>) -> Option<Changes> {
    let Some(device) = device else { return fields.refuse("device", "must be given") };
    let mask = mask?;
    let mut changes = Changes::default();
    let mut good = true;
    if mask.has("user_name") {
        changes.login =
            fields.user_name_in("device.", device.user_name).map(|user_name| (user_name, "device.user_name"));
        good &= changes.login.is_some();
    }
    if mask.has("labels") {
        changes.labels = fields.labels("device.labels", device.labels);
        good &= changes.labels.is_some();
    }
    good.then_some(changes)
}

fn authentication(user_name: Option<String>, password: Option<&Password>) -> DeviceAuthentication {
    DeviceAuthentication {
        user_name: user_name.unwrap_or_default(),
        password: password.map(secret_text).unwrap_or_default(),
    }
}

impl From<DeviceView> for proto::Device {
    fn from(DeviceView { tenant_id, subject, secrets, soft_lock: lock }: DeviceView) -> Self {
        Self {
            tenant_id: tenant_id.to_string(),
            device_id: subject.id.to_string(),
            etag: subject.etag(),
            user_name: subject.login.unwrap_or_default(),
            state: state(subject.state).into(),
            create_time: Some(timestamp(subject.create_time)),
            update_time: Some(timestamp(subject.update_time)),
            soft_lock: lock.map(soft_lock),
            labels: subject.attributes.labels.into_iter().collect(),
            secrets: versions(&secrets),
        }
    }
}
