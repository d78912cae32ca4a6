//! Every mutation there is, from the descriptors: it gets its earlier answer, and is done once.

use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, Value};
use rekey::proto::CreateApiTokenRequest;
use tonic::Code;

use super::database::Raw;
use crate::{
    common::rekey::{Rekey, reason},
    dynamic::{Method, bearer, call, furnish, methods, prepare, reset_all},
};

/// Methods whose requests have this field.
pub(super) fn with_field(name: &str) -> Vec<Method> {
    let found: Vec<_> =
        methods().into_iter().filter(|method| method.descriptor.input().get_field_by_name(name).is_some()).collect();
    assert!(found.len() > 10, "only {} methods have {name}", found.len());
    found
}

/// A request about a tenant that [`furnish`] made, which asks for all that can be made or shown.
pub(super) async fn request(rekey: &Rekey, method: &Method, tenant: &str) -> DynamicMessage {
    prepare(rekey, method, tenant).await;
    let mut request = method.request(tenant);
    let input = method.descriptor.input();
    if input.get_field_by_name("token_id").is_some() {
        let (tenant_id, caller_id) = (tenant.to_owned(), "svc".to_owned());
        let made = CreateApiTokenRequest { tenant_id, caller_id, ..CreateApiTokenRequest::default() };
        let made = rekey.admin().callers.create_api_token(made).await.unwrap().into_inner();
        request.set_field_by_name("token_id", Value::String(made.token_id));
    }
    if ["SigningKey", "Credential", "CredentialVersion"].iter().any(|noun| method.path.ends_with(noun))
        && input.get_field_by_name("api_key").is_some()
        && !method.path.ends_with("/CreateSigningKey")
    {
        request.set_field_by_name("api_key", Value::String(format!("a-key-of-svc-of-{tenant}")));
    }
    if input.get_field_by_name("job_id").is_some() {
        let job_id = reset_all(rekey, tenant).await;
        request.set_field_by_name("job_id", Value::String(job_id));
    }
    if method.path.ends_with("/RevokeCredentialVersion") {
        // The key was the second thing that was done to its caller.
        request.set_field_by_name("version", Value::I64(2));
    }
    if let Some(generate) = input.get_field_by_name("generate")
        && let Kind::Message(message) = generate.kind()
    {
        request.set_field(&generate, Value::Message(DynamicMessage::new(message)));
    }
    for shown in ["return_credentials", "return_current_password"] {
        if input.get_field_by_name(shown).is_some() {
            request.set_field_by_name(shown, Value::Bool(true));
        }
    }
    request
}

#[tokio::test]
async fn every_mutation_is_done_once_for_its_id_and_answered_alike() {
    let rekey = Rekey::start().await;
    let raw = Raw::open(&rekey.options).await;
    let (admin, stranger) = (bearer(&rekey.admin_token), bearer(&rekey.make_caller("system", &["*"]).await));
    // What begins a job tells of it as it goes on: see tests/jobs.
    let methods = with_field("request_id").into_iter().filter(|method| !method.changes_many());
    for (number, method) in methods.enumerate() {
        let tenant = format!("t{number}");
        furnish(&rekey, &tenant).await;
        let mut message = request(&rekey, &method, &tenant).await;
        message.set_field_by_name("request_id", Value::String(tenant.clone()));
        let send = async |metadata, message: &DynamicMessage| {
            call(rekey.channel(), &method.path, metadata, message.encode_to_vec()).await
        };
        let action = method.path.trim_start_matches("/rekey.v1.");

        // Where the answer cannot be kept, nothing is done.
        let state = raw.state().await;
        raw.run("CREATE TRIGGER forbid BEFORE INSERT ON reply BEGIN SELECT RAISE(ABORT, 'forbidden'); END").await;
        let refused = send(&admin, &message).await.unwrap_err();
        raw.run("DROP TRIGGER forbid").await;
        assert_eq!(refused.code(), Code::Internal, "{action}: {refused:?}");
        assert_eq!(raw.state().await, state, "{action} is done without Ops::commit");

        let first = send(&admin, &message).await.unwrap_or_else(|status| panic!("{action}: {status:?}"));
        let done = format!("SELECT count(*) FROM audit WHERE action LIKE '{action}%' AND outcome = 'succeeded'");
        let (before, state) = (raw.number(&done).await, raw.state().await);
        assert!(before > 0, "{action} was not recorded");
        let replies = format!("SELECT count(*) FROM reply WHERE request_id = '{tenant}'");
        assert_eq!(raw.number(&replies).await, 1, "{action}");
        for _ in 0..2 {
            let again = send(&admin, &message).await.unwrap_or_else(|status| panic!("{action}: {status:?}"));
            assert_eq!(again, first, "{action}");
        }
        assert_eq!((raw.number(&done).await, raw.state().await), (before, state), "{action} was done again");

        // For another caller it is another request, whatever comes of it.
        let theirs = send(&stranger, &message).await.err().map(|status| reason(&status));
        assert_ne!(theirs.as_deref(), Some("REQUEST_ID_REUSED"), "{action}");

        let mut other = message.clone();
        let fields = method.descriptor.input();
        let another = || Value::String("another".to_owned());
        let known = |name: &&str| fields.get_field_by_name(name).is_some();
        if let Some(name) = ["etag", "display_name", "username", "user_name"].into_iter().find(known) {
            other.set_field_by_name(name, another());
        } else {
            let mut tenant = other.get_field_by_name("tenant").unwrap().as_message().unwrap().clone();
            tenant.set_field_by_name("display_name", another());
            other.set_field_by_name("tenant", Value::Message(tenant));
        }
        let refused = send(&admin, &other).await.unwrap_err();
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED", "{action}");
        assert_eq!(send(&admin, &message).await.unwrap(), first, "{action}");
    }
}
