//! No `Debug` of anything tells a secret: not of the API's messages, not of what the layers hand each other.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use rekey::{
    access::Credential,
    app::ServiceOptions,
    config::{Config, Sources},
    crypto::{DataKey, ForeignBounds, HasherOptions, Keyring, Verifier, token::ApiToken},
    domain::{Entropy, Material, Password, Secret, Slot, Stage, Timestamp, Uid, WrappedKey},
    ops,
    store::StoreOptions,
};
use zeroize::Zeroizing;

use crate::descriptors::{is_redacted, messages};

const SECRET: &str = "sentinel-of-a-secret";

/// The name of a message, and how it looks when decoded and debugged, on one line and on many.
type Row = (&'static str, fn(&[u8]) -> [String; 2]);

macro_rules! table {
    ($($message:ident)*) => {
        &[$((stringify!($message), |bytes| {
            let message = rekey::proto::$message::decode(bytes).unwrap();
            [format!("{message:?}"), format!("{message:#?}")]
        })),*]
    };
}

const TABLE: &[Row] = table! {
    AccessRule
    AuditRecord
    AuthenticationCheck
    AuthenticationCheckResult
    BatchVerifyAuthenticationsRequest
    BatchVerifyAuthenticationsResponse
    BatchVerifyPasswordsRequest
    BatchVerifyPasswordsResponse
    Caller
    CallerCredential
    CancelJobRequest
    CancelJobResponse
    ChangePasswordRequest
    ChangePasswordResponse
    CheckAccessRequest
    CheckAccessResponse
    CheckPasswordRequest
    CheckPasswordResponse
    CreateApiTokenRequest
    CreateApiTokenResponse
    CreateCallerRequest
    CreateCallerResponse
    CreateDeviceRequest
    CreateDeviceResponse
    CreateIntegrationRequest
    CreateIntegrationResponse
    CreateSigningKeyRequest
    CreateSigningKeyResponse
    CreateTenantRequest
    CreateTenantResponse
    CreateUserRequest
    CreateUserResponse
    DataKeyCensus
    DeleteCallerRequest
    DeleteCallerResponse
    DeleteDeviceRequest
    DeleteDeviceResponse
    DeleteIntegrationRequest
    DeleteIntegrationResponse
    DeleteTenantRequest
    DeleteTenantResponse
    DeleteUserRequest
    DeleteUserResponse
    Device
    DeviceAuthentication
    DisableCallerRequest
    DisableCallerResponse
    DisableDeviceRequest
    DisableDeviceResponse
    DisableIntegrationRequest
    DisableIntegrationResponse
    DisableTenantRequest
    DisableTenantResponse
    DisableUserRequest
    DisableUserResponse
    EnableCallerRequest
    EnableCallerResponse
    EnableDeviceRequest
    EnableDeviceResponse
    EnableIntegrationRequest
    EnableIntegrationResponse
    EnableTenantRequest
    EnableTenantResponse
    EnableUserRequest
    EnableUserResponse
    ExchangeClientCredentialsRequest
    ExchangeClientCredentialsResponse
    ExchangeSignatureRequest
    ExchangeSignatureResponse
    ExpirePasswordsRequest
    ExpirePasswordsResponse
    ExplainPermissionRequest
    ExplainPermissionResponse
    ExplainPolicyRequest
    ExplainPolicyResponse
    GenerateSecret
    GetCallerRequest
    GetCallerResponse
    GetDeviceRequest
    GetDeviceResponse
    GetIntegrationRequest
    GetIntegrationResponse
    GetJobRequest
    GetJobResponse
    GetKeySetRequest
    GetKeySetResponse
    GetPasswordCensusRequest
    GetPasswordCensusResponse
    GetTenantRequest
    GetTenantResponse
    GetUserRequest
    GetUserResponse
    ImportBatch
    ImportFailure
    ImportOptions
    ImportUser
    ImportUsersRequest
    ImportUsersResponse
    Integration
    IntegrationCredentials
    IssueTokenRequest
    IssueTokenResponse
    Job
    JobPlan
    JsonWebKey
    JwtIssuer
    KeyReplica
    KeyringKey
    ListAuditRecordsRequest
    ListAuditRecordsResponse
    ListCallersRequest
    ListCallersResponse
    ListCredentialsRequest
    ListCredentialsResponse
    ListDevicesRequest
    ListDevicesResponse
    ListIntegrationsRequest
    ListIntegrationsResponse
    ListJobsRequest
    ListJobsResponse
    ListKeysRequest
    ListKeysResponse
    ListTenantsRequest
    ListTenantsResponse
    ListUsersRequest
    ListUsersResponse
    LockCallerRequest
    LockCallerResponse
    LockDeviceRequest
    LockDeviceResponse
    LockIntegrationRequest
    LockIntegrationResponse
    LockUserRequest
    LockUserResponse
    PasswordCheck
    PasswordCheckResult
    PasswordScheme
    PermissionAlias
    PolicyRule
    PromoteCredentialRequest
    PromoteCredentialResponse
    PromoteIntegrationSecretRequest
    PromoteIntegrationSecretResponse
    PromoteSecretRequest
    PromoteSecretResponse
    ResetAuthenticationRequest
    ResetAuthenticationResponse
    ResetIntegrationRequest
    ResetIntegrationResponse
    ResetManyRequest
    ResetManyResponse
    ResetPasswordRequest
    ResetPasswordResponse
    RevealAuthenticationRequest
    RevealAuthenticationResponse
    RevealIntegrationRequest
    RevealIntegrationResponse
    RevokeApiTokenRequest
    RevokeApiTokenResponse
    RevokeCredentialVersionRequest
    RevokeCredentialVersionResponse
    RevokeIntegrationSecretRequest
    RevokeIntegrationSecretResponse
    RevokeSecretRequest
    RevokeSecretResponse
    RevokeSigningKeyRequest
    RevokeSigningKeyResponse
    RollBackCredentialRequest
    RollBackCredentialResponse
    RollBackIntegrationSecretRequest
    RollBackIntegrationSecretResponse
    RollBackSecretRequest
    RollBackSecretResponse
    RotateApiTokenRequest
    RotateApiTokenResponse
    RotateKeysRequest
    RotateKeysResponse
    RotateSigningKeyRequest
    RotateSigningKeyResponse
    Rule
    ScopeGrant
    SecretPolicy
    SecretVersion
    SoftLock
    StrengthEstimate
    SwapCredentialRequest
    SwapCredentialResponse
    SwapIntegrationSecretsRequest
    SwapIntegrationSecretsResponse
    SwapSecretsRequest
    SwapSecretsResponse
    Tenant
    TenantAlias
    TenantLimits
    TokenIssuer
    TokenScopes
    UnlockCallerRequest
    UnlockCallerResponse
    UnlockDeviceRequest
    UnlockDeviceResponse
    UnlockIntegrationRequest
    UnlockIntegrationResponse
    UnlockUserRequest
    UnlockUserResponse
    UpdateCallerRequest
    UpdateCallerResponse
    UpdateDeviceRequest
    UpdateDeviceResponse
    UpdateIntegrationRequest
    UpdateIntegrationResponse
    UpdateTenantRequest
    UpdateTenantResponse
    UpdateUserRequest
    UpdateUserResponse
    User
    VerifyAuthenticationRequest
    VerifyAuthenticationResponse
    VerifyIntegrationRequest
    VerifyIntegrationResponse
    VerifyPasswordRequest
    VerifyPasswordResponse
    WatchJobRequest
    WatchJobResponse
    WhoAmIRequest
    WhoAmIResponse
};

/// Fills every field with a sentinel of its own; of a oneof, the member of this number.
struct Filler {
    member: usize,
    public: Vec<String>,
}

impl Filler {
    fn message(&mut self, descriptor: &MessageDescriptor, secret: bool) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
                let members: Vec<_> = oneof.fields().collect();
                if members[self.member % members.len()] != field {
                    continue;
                }
            }
            let secret = secret || is_redacted(&field);
            let value = if let Kind::Message(entry) = field.kind()
                && entry.is_map_entry()
            {
                let (key, value) = (self.text(&field, secret), self.value(&entry.map_entry_value_field(), secret));
                Value::Map([(MapKey::String(key), value)].into())
            } else {
                let value = self.value(&field, secret);
                if field.is_list() { Value::List(vec![value]) } else { value }
            };
            message.set_field(&field, value);
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor, secret: bool) -> Value {
        match field.kind() {
            Kind::String => Value::String(self.text(field, secret)),
            // Told as numbers, whatever they spell.
            Kind::Bytes if !secret => Value::Bytes(b"public".as_slice().into()),
            Kind::Bytes => Value::Bytes(self.text(field, secret).into()),
            Kind::Message(inner) => Value::Message(self.message(&inner, secret)),
            kind => Value::default_value(&kind),
        }
    }

    fn text(&mut self, field: &FieldDescriptor, secret: bool) -> String {
        if secret {
            return format!("{SECRET}-{}", field.name());
        }
        let text = format!("public-{}-{}", field.name(), self.public.len());
        self.public.push(text.clone());
        text
    }
}

#[test]
fn the_table_has_every_message() {
    let there: BTreeSet<_> = messages().map(|message| message.name().to_owned()).collect();
    let listed: BTreeSet<_> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(listed, there);
    assert!(messages().all(|message| message.parent_message().is_none()), "a nested message needs its place in TABLE");
}

#[test]
fn messages_tell_everything_but_their_secrets() {
    let mut secrets = 0;
    for descriptor in messages() {
        let (_, debug) = TABLE.iter().find(|(name, _)| *name == descriptor.name()).unwrap();
        for member in 0..6 {
            let mut filler = Filler { member, public: Vec::new() };
            let message = filler.message(&descriptor, false);
            let bytes = message.encode_to_vec();
            secrets += usize::from(String::from_utf8_lossy(&bytes).contains(SECRET));
            for told in debug(&bytes) {
                assert!(!told.contains(SECRET), "{}: {told}", descriptor.name());
                for public in &filler.public {
                    assert!(told.contains(public), "{} without {public}: {told}", descriptor.name());
                }
            }
        }
    }
    assert!(secrets > 50, "only {secrets} messages with secrets");
}

/// The same byte for ever, so that a key is known when it is seen; but for the end of what is no key, for ids must differ.
struct Constant(AtomicU8);

impl Entropy for Constant {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0xab);
        if buffer.len() < 16
            && let [.., last] = buffer
        {
            *last = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn silent(value: &impl std::fmt::Debug) {
    for told in [format!("{value:?}"), format!("{value:#?}")] {
        let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
        // As text, as a list of bytes, in hexadecimal, in base32 and in base64.
        let told = ["171, 171", "ab, ab", "0xab", "abababab", "lelelel", "q6urq6ur", SECRET];
        let found = told.iter().find(|secret| line.to_lowercase().contains(&secret.to_lowercase()));
        assert!(found.is_none(), "{found:?} in {line}");
    }
}

#[test]
fn keys_and_cleartext_say_nothing_of_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let password = || Password::parse(SECRET.to_owned()).unwrap();
    let uid = Uid::from_stored("u");
    let keyring =
        Keyring::create(&directory.path().join("keyring.json"), Timestamp::from_micros(0), &Constant(AtomicU8::new(0)))
            .unwrap();
    let key = DataKey::make(Uid::from_stored("k"), &Constant(AtomicU8::new(0)));
    // Uids are made of the same bytes, and are no secrets.
    assert!(!format!("{keyring:?}").contains("171") && !format!("{keyring:#?}").contains("secret"));
    silent(&key);
    silent(&ApiToken { id: "id".to_owned(), token: SECRET.into() });
    silent(&password());
    silent(&Verifier::from_stored(Zeroizing::new(format!("$argon2id${SECRET}"))));
    silent(&Secret {
        subject_uid: uid.clone(),
        slot: Slot::Password,
        version: 1,
        stage: Stage::Current,
        material: Material::Sealed,
        payload: vec![0xab; 32],
        scheme: None,
        key_id: "k".to_owned(),
        read_only: false,
        must_change: false,
        create_time: Timestamp::from_micros(0),
        stage_time: Timestamp::from_micros(0),
        expire_time: None,
        own_expire_time: None,
        lookup_key: None,
        last_used_time: None,
        use_count: 0,
    });
    let (id, wrapping_key_id) = (uid.clone(), "w".to_owned());
    silent(&WrappedKey { id, tenant_uid: uid, wrapping_key_id, ciphertext: vec![0xab; 32] });
    silent(&ops::Source::Given(password(), "password"));
    let settings = [("name".to_owned(), Zeroizing::new(SECRET.to_owned()))];
    silent(&ops::Settings(settings.into()));
    silent(&Credential::read(Some(SECRET), None, None).unwrap());
    let signature = data_encoding::BASE64.encode(&[0xab; 32]);
    let header = format!(r#"algorithm="hmac-sha256",headers="date",signature="{signature}",apiKey="key""#);
    silent(&Credential::read(None, Some(&header), Some("today")).unwrap());
}

#[test]
fn options_do_not_tell_the_database_s_password() {
    let store = StoreOptions { url: format!("postgres://rekey:{SECRET}@db/rekey"), max_connections: 2 };
    silent(&store);
    let flags = vec![("database.url", store.url.clone()), ("data_dir", "/var/lib/rekey".to_owned())];
    let config = Config::load(&Sources { flags, ..Sources::default() }).unwrap();
    silent(&config);
    silent(&config.service().unwrap());
    silent(&config.gateway().unwrap());
    silent(&ServiceOptions {
        store,
        keyring_file: Path::new("/keyring.json").to_owned(),
        anchor_file: Path::new("/anchor.json").to_owned(),
        hasher: HasherOptions {
            threads: 1,
            queue: 1,
            max_wait: Duration::ZERO,
            memory_kib: 7_168,
            iterations: 5,
            parallelism: 1,
            foreign: ForeignBounds::DEFAULT,
        },
        limits: config.service().unwrap().limits,
        jobs: config.service().unwrap().jobs,
        expiry: config.service().unwrap().expiry,
        blocklist: None,
        listen: "127.0.0.1:0".parse().unwrap(),
        reflection: false,
        tls: None,
        metrics: None,
        drain: Duration::ZERO,
    });
}
