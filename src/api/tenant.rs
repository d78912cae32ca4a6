//! `TenantService`.

mod lifecycle;
pub(super) mod limits;

use tonic::{Request, Response, Status};

use super::{
    answer::{answer, state, timestamp},
    listing::{TENANTS, page},
    token_issuer::token_issuer,
    validate::Fields,
};
use crate::{
    access::jwt,
    domain::{
        Dialect, Error, Policy, Tenant,
        policy::{CharacterClass, Preset},
        tenant::{Alias, JwtAlgorithm, JwtIssuer, SYSTEM_TENANT, ScopeGrant, Settings, alias_name},
    },
    ops::{Ops, tenant::CreateTenant},
    proto::{
        self, CreateTenantRequest, CreateTenantResponse, GetTenantRequest, GetTenantResponse, ListTenantsRequest,
        ListTenantsResponse, PolicyPreset, SecretPolicy, TenantAlias, tenant_service_server::TenantService,
    },
};

/// The most characters of a display name, an issuer, an audience, a scope.
pub(super) const MAX_NAME: usize = 128;
/// The most aliases, issuers, and grants of an issuer.
pub(super) const MAX_ITEMS: usize = 64;

pub(super) struct TenantApi {
    ops: Ops,
}

impl TenantApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl TenantService for TenantApi {
    async fn create_tenant(
        &self,
        request: Request<CreateTenantRequest>,
    ) -> Result<Response<CreateTenantResponse>, Status> {
        answer(request, async |call, request| {
            // A tenant is large, and so is a future that moves it about.
            let tenant = Box::pin(self.ops.create_tenant(call, create(request)?)).await?;
            Ok(CreateTenantResponse { tenant: Some(tenant.into()) })
        })
        .await
    }

    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Result<Response<GetTenantResponse>, Status> {
        answer(request, async |call, request| {
            let mut fields = Fields::default();
            let Some(tenant) = fields.tenant(&request.tenant_id) else { return Err(fields.error()) };
            let tenant = self.ops.get_tenant(call, &tenant).await?;
            Ok(GetTenantResponse { tenant: Some(tenant.into()) })
        })
        .await
    }

    async fn list_tenants(
        &self,
        request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        answer(request, async |call, request| {
            let page = page(&mut Fields::default(), &TENANTS, request.into())?;
            let page = self.ops.list_tenants(call, page).await?;
            Ok(ListTenantsResponse {
                tenants: page.items.into_iter().map(Into::into).collect(),
                next_page_token: page.next_token,
                total_size: page.total,
            })
        })
        .await
    }

    async fn update_tenant(
        &self,
        request: Request<proto::UpdateTenantRequest>,
    ) -> Result<Response<proto::UpdateTenantResponse>, Status> {
        lifecycle::update(&self.ops, request).await
    }

    async fn delete_tenant(
        &self,
        request: Request<proto::DeleteTenantRequest>,
    ) -> Result<Response<proto::DeleteTenantResponse>, Status> {
        lifecycle::delete(&self.ops, request).await
    }

    async fn disable_tenant(
        &self,
        request: Request<proto::DisableTenantRequest>,
    ) -> Result<Response<proto::DisableTenantResponse>, Status> {
        lifecycle::disable(&self.ops, request).await
    }

    async fn enable_tenant(
        &self,
        request: Request<proto::EnableTenantRequest>,
    ) -> Result<Response<proto::EnableTenantResponse>, Status> {
        lifecycle::enable(&self.ops, request).await
    }
}

fn create(request: CreateTenantRequest) -> Result<CreateTenant, Error> {
    let mut fields = Fields::default();
    let Some(tenant) = request.tenant else {
        fields.refuse::<()>("tenant", "must be given");
        return Err(fields.error());
    };
    let id = fields.new_id("tenant.tenant_id", &tenant.tenant_id);
    if tenant.tenant_id == SYSTEM_TENANT {
        fields.refuse::<()>("tenant.tenant_id", "is reserved");
    }
    let display_name = fields.short_text("tenant.display_name", tenant.display_name, MAX_NAME);
    let aliases = aliases(&mut fields, tenant.aliases);
    let user_policy = policy(&mut fields, "tenant.user_policy", tenant.user_policy, Preset::Nist);
    let device_policy = policy(&mut fields, "tenant.device_policy", tenant.device_policy, Preset::Roma);
    let integration_policy =
        policy(&mut fields, "tenant.integration_policy", tenant.integration_policy, Preset::Applivery);
    let jwt_issuers = jwt_issuers(&mut fields, tenant.jwt_issuers);
    let labels = fields.labels("tenant.labels", tenant.labels);
    let permission_aliases = fields.permission_aliases("tenant.permission_aliases", tenant.permission_aliases);
    let limits = limits::limits(&mut fields, "tenant.limits", tenant.limits);
    let token_issuer = token_issuer(&mut fields, tenant.token_issuer);
    let settings = Settings {
        display_name: display_name.unwrap_or_default(),
        change_password_allowed: tenant.change_password_allowed,
        user_policy,
        device_policy,
        integration_policy,
        jwt_issuers,
        labels: labels.unwrap_or_default(),
        permission_aliases: permission_aliases.unwrap_or_default(),
        limits,
        token_issuer: token_issuer.map(Box::new),
    };
    for defect in settings.defects() {
        fields.refuse::<()>(format!("tenant.{}", defect.field), defect.description);
    }
    fields.finish()?;
    Ok(CreateTenant { id: id.flatten(), aliases, settings })
}

pub(super) fn bounded<T>(fields: &mut Fields, field: &str, items: &[T]) {
    if items.len() > MAX_ITEMS {
        fields.refuse::<()>(field, format!("must be at most {MAX_ITEMS}"));
    }
}

fn aliases(fields: &mut Fields, given: Vec<TenantAlias>) -> Vec<Alias> {
    bounded(fields, "tenant.aliases", &given);
    let mut aliases = Vec::new();
    for (index, TenantAlias { dialect, alias }) in given.into_iter().take(MAX_ITEMS).enumerate() {
        let field = |name: &str| format!("tenant.aliases[{index}].{name}");
        let dialect = Dialect::parse(&dialect)
            .or_else(|| fields.refuse(field("dialect"), "must be applivery, ocariot, licensespring or roma"));
        let name =
            alias_name(&alias).or_else(|| fields.refuse(field("alias"), "must be 1 to 200 printing ASCII characters"));
        let (Some(dialect), Some(name)) = (dialect, name) else { continue };
        let alias = Alias { dialect, name };
        if aliases.contains(&alias) {
            fields.refuse::<()>(field("alias"), "stands twice");
        }
        aliases.push(alias);
    }
    aliases
}

/// A preset, and what the request sets besides.
fn policy(fields: &mut Fields, path: &str, given: Option<SecretPolicy>, default: Preset) -> Policy {
    let given = given.unwrap_or_default();
    let preset = match PolicyPreset::try_from(given.preset) {
        Ok(PolicyPreset::Unspecified) => default,
        Ok(PolicyPreset::Nist) => Preset::Nist,
        Ok(PolicyPreset::Applivery) => Preset::Applivery,
        Ok(PolicyPreset::Ocariot) => Preset::Ocariot,
        Ok(PolicyPreset::Licensespring) => Preset::Licensespring,
        Ok(PolicyPreset::Roma) => Preset::Roma,
        Err(_) => {
            fields.refuse::<()>(format!("{path}.preset"), "must be a PolicyPreset");
            default
        }
    };
    let mut policy = Policy::preset(preset);
    policy.min_length = given.min_length.unwrap_or(policy.min_length);
    policy.max_length = given.max_length.unwrap_or(policy.max_length);
    policy.blocklist = given.blocklist.unwrap_or(policy.blocklist);
    policy.generated_length = given.generated_length.unwrap_or(policy.generated_length);
    policy.history = given.history.unwrap_or(policy.history);
    policy.breached = given.breached.unwrap_or(policy.breached);
    policy.min_strength = given.min_strength.unwrap_or(policy.min_strength);
    policy.words = given.words;
    policy.reset_must_change = given.reset_must_change.unwrap_or(policy.reset_must_change);
    for (name, given, kept) in [
        ("temporary_ttl", given.temporary_ttl, &mut policy.temporary_ttl_s),
        ("max_overlap", given.max_overlap, &mut policy.max_overlap_s),
    ] {
        if given.is_some()
            && let Some(seconds) = fields.whole_seconds(&format!("{path}.{name}"), given)
        {
            *kept = seconds.as_secs();
        }
    }
    if let Some(symbols) = given.symbols {
        policy.symbols = symbols;
    }
    if !given.required_classes.is_empty() {
        policy.required_classes.clear();
    }
    for (index, class) in given.required_classes.into_iter().enumerate() {
        let class = match proto::CharacterClass::try_from(class) {
            Ok(proto::CharacterClass::Digit) => CharacterClass::Digit,
            Ok(proto::CharacterClass::Upper) => CharacterClass::Upper,
            Ok(proto::CharacterClass::Lower) => CharacterClass::Lower,
            Ok(proto::CharacterClass::Symbol) => CharacterClass::Symbol,
            Ok(proto::CharacterClass::Unspecified) | Err(_) => {
                fields.refuse::<()>(format!("{path}.required_classes[{index}]"), "must be a CharacterClass");
                continue;
            }
        };
        if !policy.required_classes.contains(&class) {
            policy.required_classes.push(class);
        }
    }
    for (field, rule) in policy.defects() {
        fields.refuse::<()>(format!("{path}.{field}"), rule);
    }
    policy
}

fn jwt_issuers(fields: &mut Fields, given: Vec<proto::JwtIssuer>) -> Vec<JwtIssuer> {
    bounded(fields, "tenant.jwt_issuers", &given);
    let mut issuers = Vec::new();
    for (index, issuer) in given.into_iter().take(MAX_ITEMS).enumerate() {
        let path = format!("tenant.jwt_issuers[{index}]");
        let name = fields.text(&format!("{path}.issuer"), issuer.issuer, MAX_NAME);
        let audience = fields.short_text(&format!("{path}.audience"), issuer.audience, MAX_NAME);
        let algorithm = match jwt::algorithm_of(&issuer.public_key_pem) {
            Ok(algorithm) => Some(algorithm),
            Err(rule) => fields.refuse(format!("{path}.public_key_pem"), rule),
        };
        let max_auth_age_s = match issuer.max_auth_age {
            None => 0,
            Some(age) => u32::try_from(age.seconds)
                .ok()
                .filter(|seconds| age.nanos == 0 && (1..=JwtIssuer::MAX_AUTH_AGE_S).contains(seconds))
                .or_else(|| fields.refuse(format!("{path}.max_auth_age"), "must be whole seconds, at most 30 days"))
                .unwrap_or_default(),
        };
        // One that is wrong keeps its place, so that its grants are told by theirs; nothing else comes of it.
        let scope_grants = scope_grants(fields, &path, issuer.scope_grants);
        issuers.push(JwtIssuer {
            issuer: name.unwrap_or_default(),
            public_key_pem: issuer.public_key_pem,
            algorithm: algorithm.unwrap_or(JwtAlgorithm::EdDSA),
            audience: audience.unwrap_or_default(),
            scope_grants,
            max_auth_age_s,
        });
    }
    issuers
}

/// What scopes allow, in a message at this path.
pub(super) fn scope_grants(fields: &mut Fields, path: &str, given: Vec<proto::ScopeGrant>) -> Vec<ScopeGrant> {
    bounded(fields, &format!("{path}.scope_grants"), &given);
    let mut scope_grants = Vec::new();
    for (index, grant) in given.into_iter().take(MAX_ITEMS).enumerate() {
        let path = format!("{path}.scope_grants[{index}]");
        let scope = scope(fields, &format!("{path}.scope"), grant.scope);
        bounded(fields, &format!("{path}.subject_types"), &grant.subject_types);
        let types = grant.subject_types.into_iter().take(MAX_ITEMS).enumerate();
        let types =
            types.filter_map(|(index, name)| fields.text(&format!("{path}.subject_types[{index}]"), name, MAX_NAME));
        scope_grants.push(ScopeGrant {
            scope: scope.unwrap_or_default(),
            permission: grant.permission,
            own_only: grant.own_only,
            subject_types: types.collect(),
        });
    }
    scope_grants
}

/// A scope: text without spaces.
pub(super) fn scope(fields: &mut Fields, path: &str, given: String) -> Option<String> {
    let scope = fields.text(path, given, MAX_NAME)?;
    if scope.contains(' ') { fields.refuse(path, "must not contain spaces") } else { Some(scope) }
}

impl From<Tenant> for proto::Tenant {
    fn from(tenant: Tenant) -> Self {
        let alias = |alias: Alias| TenantAlias { dialect: alias.dialect.as_str().to_owned(), alias: alias.name };
        Self {
            tenant_id: tenant.id.to_string(),
            etag: tenant.etag(),
            create_time: Some(timestamp(tenant.create_time)),
            update_time: Some(timestamp(tenant.update_time)),
            aliases: tenant.aliases.into_iter().map(alias).collect(),
            display_name: tenant.settings.display_name,
            change_password_allowed: tenant.settings.change_password_allowed,
            user_policy: Some(tenant.settings.user_policy.into()),
            device_policy: Some(tenant.settings.device_policy.into()),
            integration_policy: Some(tenant.settings.integration_policy.into()),
            jwt_issuers: tenant.settings.jwt_issuers.into_iter().map(Into::into).collect(),
            labels: tenant.settings.labels.into_iter().collect(),
            state: state(tenant.state).into(),
            permission_aliases: tenant.settings.permission_aliases.into_iter().map(Into::into).collect(),
            limits: limits::shown(tenant.settings.limits),
            token_issuer: tenant.settings.token_issuer.map(|issuer| (*issuer).into()),
        }
    }
}

impl From<Policy> for SecretPolicy {
    fn from(policy: Policy) -> Self {
        let preset = match policy.preset {
            Preset::Nist => PolicyPreset::Nist,
            Preset::Applivery => PolicyPreset::Applivery,
            Preset::Ocariot => PolicyPreset::Ocariot,
            Preset::Licensespring => PolicyPreset::Licensespring,
            Preset::Roma => PolicyPreset::Roma,
        };
        let class = |class: CharacterClass| match class {
            CharacterClass::Digit => proto::CharacterClass::Digit,
            CharacterClass::Upper => proto::CharacterClass::Upper,
            CharacterClass::Lower => proto::CharacterClass::Lower,
            CharacterClass::Symbol => proto::CharacterClass::Symbol,
        };
        Self {
            preset: preset.into(),
            min_length: Some(policy.min_length),
            max_length: Some(policy.max_length),
            required_classes: policy.required_classes.into_iter().map(|required| class(required).into()).collect(),
            symbols: Some(policy.symbols),
            blocklist: Some(policy.blocklist),
            generated_length: Some(policy.generated_length),
            history: Some(policy.history),
            breached: Some(policy.breached),
            min_strength: Some(policy.min_strength),
            words: policy.words,
            reset_must_change: Some(policy.reset_must_change),
            temporary_ttl: Some(seconds(policy.temporary_ttl_s)),
            max_overlap: Some(seconds(policy.max_overlap_s)),
        }
    }
}

fn seconds(seconds: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }
}

impl From<ScopeGrant> for proto::ScopeGrant {
    fn from(grant: ScopeGrant) -> Self {
        Self {
            scope: grant.scope,
            permission: grant.permission,
            own_only: grant.own_only,
            subject_types: grant.subject_types,
        }
    }
}

impl From<JwtIssuer> for proto::JwtIssuer {
    fn from(issuer: JwtIssuer) -> Self {
        Self {
            issuer: issuer.issuer,
            public_key_pem: issuer.public_key_pem,
            audience: issuer.audience,
            scope_grants: issuer.scope_grants.into_iter().map(Into::into).collect(),
            max_auth_age: (issuer.max_auth_age_s > 0)
                .then(|| prost_types::Duration { seconds: issuer.max_auth_age_s.into(), nanos: 0 }),
        }
    }
}
