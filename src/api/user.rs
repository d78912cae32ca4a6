//! `UserService`.

use tonic::{Request, Response, Status, Streaming};

use super::{
    answer::{answer, secret_text, soft_lock, state, timestamp, token_text, unless_overloaded},
    import, job,
    listing::page_of,
    mask::Mask,
    named::named,
    validate::{ByIdOrLogin, Either, Fields, etag},
};
use crate::{
    domain::{Error, SubjectKind, Transition},
    ops::{
        Ops,
        lifecycle::Changes,
        user::{ChangePassword, CreateUser, ResetPassword, UserView, VerifyPassword},
    },
    proto::{
        self, BatchVerifyPasswordsRequest, BatchVerifyPasswordsResponse, ChangePasswordRequest, ChangePasswordResponse,
        CreateUserRequest, CreateUserResponse, GetPasswordCensusRequest, GetPasswordCensusResponse, GetUserRequest,
        GetUserResponse, ImportUsersRequest, PasswordCheckResult, ResetPasswordRequest, ResetPasswordResponse,
        VerifyPasswordRequest, VerifyPasswordResponse, change_password_request, create_user_request,
        issue_token_request, password_check, reset_password_request, user_service_server::UserService,
        verify_password_request,
    },
};

/// The most characters of a user name.
pub(super) const MAX_USERNAME: usize = 256;

const KIND: SubjectKind = SubjectKind::User;
/// What `UpdateUser` changes.
const UPDATABLE: &[&str] = &["username", "labels", "rank"];

pub(super) struct UserApi {
    ops: Ops,
}

impl UserApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl UserService for UserApi {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.new_id("user_id", &request.user_id);
            let username = fields.text("username", request.username, MAX_USERNAME);
            let state = fields.state(request.state);
            let labels = fields.labels("labels", request.labels);
            let rank = fields.rank("rank", request.rank);
            let source = match request.secret_source {
                Some(create_user_request::SecretSource::Password(given)) => {
                    fields.source("password", Either::Given(given)).map(Some)
                }
                Some(create_user_request::SecretSource::Generate(generate)) => {
                    fields.source("password", Either::Generate(generate)).map(Some)
                }
                None => Some(None),
            };
            let (Some(tenant), Some(id), Some(username), Some(state), Some(labels), Some(rank), Some(source)) =
                (tenant, id, username, state, labels, rank, source)
            else {
                return Err(fields.error());
            };
            let create = CreateUser { tenant, id, username, state, labels, rank, source };
            // Large, as a future that hashes is.
            let (user, generated) = Box::pin(self.ops.create_user(call, create)).await?;
            let generated_password = generated.as_ref().map(secret_text).unwrap_or_default();
            Ok(CreateUserResponse { user: Some(user.into()), generated_password })
        })
        .await
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        answer(request, async |call, request| {
            self.ops.hold_to_own(call, Some(&request.user_id)).await?;
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let id = fields.id("user_id", &request.user_id);
            let (Some(tenant), Some(id)) = (tenant, id) else { return Err(fields.error()) };
            let user = self.ops.get_user(call, &tenant, id).await?;
            Ok(GetUserResponse { user: Some(user.into()) })
        })
        .await
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        answer(request, async |call, request| {
            self.ops.hold_to_own(call, Some(&request.user_id)).await?;
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let user_id = fields.id("user_id", &request.user_id);
            let source = match request.secret_source {
                Some(reset_password_request::SecretSource::NewPassword(given)) => {
                    fields.source("new_password", Either::Given(given))
                }
                Some(reset_password_request::SecretSource::Generate(generate)) => {
                    fields.source("new_password", Either::Generate(generate))
                }
                None => fields.refuse("new_password", "must be given, or generate in its place"),
            };
            let (Some(tenant), Some(user_id), Some(source)) = (tenant, user_id, source) else {
                return Err(fields.error());
            };
            let reset = ResetPassword { tenant, user_id, source, etag: etag(request.etag) };
            let (user, generated) = self.ops.reset_password(call, reset).await?;
            let generated_password = generated.as_ref().map(secret_text).unwrap_or_default();
            Ok(ResetPasswordResponse { user: Some(user.into()), generated_password })
        })
        .await
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        answer(request, async |call, request| {
            let subject = request.subject.map(|subject| match subject {
                change_password_request::Subject::UserId(id) => ByIdOrLogin::Id(id),
                change_password_request::Subject::Username(login) => ByIdOrLogin::Login("username", login),
            });
            let user_id = match &subject {
                Some(ByIdOrLogin::Id(id)) => Some(id.as_str()),
                Some(ByIdOrLogin::Login(..)) | None => None,
            };
            self.ops.hold_to_own(call, user_id).await?;
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let user = fields.subject("user_id", subject);
            let current = fields.password("current_password", request.current_password);
            let new = fields.password("new_password", request.new_password);
            let from = fields.source_of(request.source);
            let (Some(tenant), Some(user), Some(current), Some(new), Some(from)) = (tenant, user, current, new, from)
            else {
                return Err(fields.error());
            };
            let change = ChangePassword { tenant, user, current, new, from, etag: etag(request.etag) };
            let user = self.ops.change_password(call, change).await?;
            Ok(ChangePasswordResponse { user: Some(user.into()) })
        })
        .await
    }

    async fn verify_password(
        &self,
        request: Request<VerifyPasswordRequest>,
    ) -> Result<Response<VerifyPasswordResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let subject = request.subject.map(|subject| match subject {
                verify_password_request::Subject::UserId(id) => ByIdOrLogin::Id(id),
                verify_password_request::Subject::Username(login) => ByIdOrLogin::Login("username", login),
            });
            let user = fields.subject("user_id", subject);
            let password = fields.password("password", request.password);
            let from = fields.source_of(request.source);
            let (Some(tenant), Some(user), Some(password), Some(from)) = (tenant, user, password, from) else {
                return Err(fields.error());
            };
            let verified = self.ops.verify_password(call, VerifyPassword { tenant, user, password, from }).await?;
            let must_change = verified.as_ref().is_some_and(|verified| verified.must_change);
            Ok(VerifyPasswordResponse {
                verified: verified.is_some(),
                user_id: verified.map(|verified| verified.user_id.to_string()).unwrap_or_default(),
                must_change,
            })
        })
        .await
    }

    async fn batch_verify_passwords(
        &self,
        request: Request<BatchVerifyPasswordsRequest>,
    ) -> Result<Response<BatchVerifyPasswordsResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let checks = fields.checks(request.checks, |fields, check, path| {
                let subject = check.subject.map(|subject| match subject {
                    password_check::Subject::UserId(id) => ByIdOrLogin::Id(id),
                    password_check::Subject::Username(login) => ByIdOrLogin::Login("username", login),
                });
                let user = fields.subject_in(path, "user_id", subject);
                let password = fields.password(&format!("{path}password"), check.password);
                let from = fields.source_in(path, check.source);
                Some(VerifyPassword { tenant: tenant.clone()?, user: user?, password: password?, from: from? })
            });
            let (Some(_), Some(checks)) = (&tenant, checks) else { return Err(fields.error()) };
            let outcomes = self.ops.verify_passwords(call, checks).await;
            let results = outcomes.into_iter().map(|outcome| {
                let (verified, overloaded) = unless_overloaded(outcome)?;
                let must_change = verified.as_ref().is_some_and(|verified| verified.must_change);
                let user_id = verified.as_ref().map(|verified| verified.user_id.to_string()).unwrap_or_default();
                Ok(PasswordCheckResult { verified: verified.is_some(), user_id, overloaded, must_change })
            });
            Ok(BatchVerifyPasswordsResponse { results: results.collect::<Result<_, Error>>()? })
        })
        .await
    }

    type ImportUsersStream = import::Answers;

    async fn import_users(
        &self,
        request: Request<Streaming<ImportUsersRequest>>,
    ) -> Result<Response<Self::ImportUsersStream>, Status> {
        import::import_users(&self.ops, request).await
    }

    async fn get_password_census(
        &self,
        request: Request<GetPasswordCensusRequest>,
    ) -> Result<Response<GetPasswordCensusResponse>, Status> {
        import::census(&self.ops, request).await
    }

    type ExpirePasswordsStream = job::Progress<proto::ExpirePasswordsResponse>;

    async fn expire_passwords(
        &self,
        request: Request<proto::ExpirePasswordsRequest>,
    ) -> Result<Response<Self::ExpirePasswordsStream>, Status> {
        job::expire_passwords(&self.ops, request).await
    }

    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<proto::ListUsersResponse>, Status> {
        answer(request, async |call, request| {
            let (tenant, page) = page_of(KIND, request.into())?;
            let page = self.ops.list_subjects(call, &tenant, KIND, page).await?;
            let shown = |kept| UserView::from(kept).into();
            Ok(proto::ListUsersResponse {
                users: page.items.into_iter().map(shown).collect(),
                next_page_token: page.next_token,
                total_size: page.total,
            })
        })
        .await
    }

    async fn update_user(
        &self,
        request: Request<proto::UpdateUserRequest>,
    ) -> Result<Response<proto::UpdateUserResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let named = fields.named(KIND, &request.tenant_id, &request.user_id, request.etag);
            let mask = fields.mask(request.update_mask, "User", UPDATABLE);
            let changes = changes(&mut fields, mask.as_ref(), request.user);
            let (Some(named), Some(_), Some(changes)) = (named, mask, changes) else { return Err(fields.error()) };
            let user: UserView = self.ops.update_subject(call, &named, &changes).await?.into();
            Ok(proto::UpdateUserResponse { user: Some(user.into()) })
        })
        .await
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.user_id, request.etag)?;
            self.ops.delete_subject(call, &named, request.allow_missing).await?;
            Ok(proto::DeleteUserResponse {})
        })
        .await
    }

    async fn lock_user(
        &self,
        request: Request<proto::LockUserRequest>,
    ) -> Result<Response<proto::LockUserResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.user_id, request.etag)?;
            let user: UserView = self.ops.set_state(call, &named, Transition::Lock).await?.into();
            Ok(proto::LockUserResponse { user: Some(user.into()) })
        })
        .await
    }

    async fn unlock_user(
        &self,
        request: Request<proto::UnlockUserRequest>,
    ) -> Result<Response<proto::UnlockUserResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.user_id, request.etag)?;
            let user: UserView = self.ops.set_state(call, &named, Transition::Unlock).await?.into();
            Ok(proto::UnlockUserResponse { user: Some(user.into()) })
        })
        .await
    }

    async fn disable_user(
        &self,
        request: Request<proto::DisableUserRequest>,
    ) -> Result<Response<proto::DisableUserResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.user_id, request.etag)?;
            let user: UserView = self.ops.set_state(call, &named, Transition::Disable).await?.into();
            Ok(proto::DisableUserResponse { user: Some(user.into()) })
        })
        .await
    }

    async fn enable_user(
        &self,
        request: Request<proto::EnableUserRequest>,
    ) -> Result<Response<proto::EnableUserResponse>, Status> {
        answer(request, async |call, request| {
            let named = named(KIND, &request.tenant_id, &request.user_id, request.etag)?;
            let user: UserView = self.ops.set_state(call, &named, Transition::Enable).await?.into();
            Ok(proto::EnableUserResponse { user: Some(user.into()) })
        })
        .await
    }

    async fn issue_token(
        &self,
        request: Request<proto::IssueTokenRequest>,
    ) -> Result<Response<proto::IssueTokenResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let tenant = fields.tenant(&request.tenant_id);
            let subject = request.subject.map(|subject| match subject {
                issue_token_request::Subject::UserId(id) => ByIdOrLogin::Id(id),
                issue_token_request::Subject::Username(login) => ByIdOrLogin::Login("username", login),
            });
            let user = fields.subject("user_id", subject);
            let password = fields.password("password", request.password);
            let from = fields.source_of(request.source);
            let (Some(tenant), Some(user), Some(password), Some(from)) = (tenant, user, password, from) else {
                return Err(fields.error());
            };
            let issued = self.ops.issue_token(call, VerifyPassword { tenant, user, password, from }).await?;
            Ok(proto::IssueTokenResponse {
                access_token: token_text(&issued.token),
                token_type: "Bearer".to_owned(),
                expire_time: Some(timestamp(issued.expire_time)),
                user_id: issued.subject_id.to_string(),
            })
        })
        .await
    }
}

/// What the mask names of a user; each field is looked at, so that everything wrong is told at once.
fn changes(fields: &mut Fields, mask: Option<&Mask>, user: Option<proto::User>) -> Option<Changes> {
    let Some(user) = user else { return fields.refuse("user", "must be given") };
    let mask = mask?;
    let mut changes = Changes::default();
    let mut good = true;
    if mask.has("username") {
        changes.login =
            fields.text("user.username", user.username, MAX_USERNAME).map(|username| (username, "user.username"));
        good &= changes.login.is_some();
    }
    if mask.has("labels") {
        changes.labels = fields.labels("user.labels", user.labels);
        good &= changes.labels.is_some();
    }
    if mask.has("rank") {
        changes.rank = fields.rank("user.rank", user.rank);
        good &= changes.rank.is_some();
    }
    good.then_some(changes)
}

impl From<UserView> for proto::User {
    fn from(view: UserView) -> Self {
        let UserView { tenant_id, subject, password_change_time, soft_lock: lock, .. } = view;
        Self {
            password_must_change: view.password_must_change,
            password_expire_time: view.password_expire_time.map(timestamp),
            tenant_id: tenant_id.to_string(),
            user_id: subject.id.to_string(),
            etag: subject.etag(),
            username: subject.login.unwrap_or_default(),
            labels: subject.attributes.labels.into_iter().collect(),
            state: state(subject.state).into(),
            password_change_time: password_change_time.map(timestamp),
            create_time: Some(timestamp(subject.create_time)),
            update_time: Some(timestamp(subject.update_time)),
            soft_lock: lock.map(soft_lock),
            rank: subject.attributes.rank,
        }
    }
}
