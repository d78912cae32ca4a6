//! Who gets in: every method, with every kind of credential that should not do.

#![expect(clippy::panic, reason = "a test stops at the first surprise")]

use std::time::Duration;

use http::{HeaderMap, Uri};
use prost::Message as _;
use rekey::{
    access::Access,
    domain::Permission,
    proto::{
        CreateApiTokenRequest, CreateCallerRequest, GetUserRequest, RevokeApiTokenRequest, WhoAmIRequest,
        WhoAmIResponse,
    },
};
use tonic::{Code, Request, Status, metadata::MetadataMap};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;
use tower::{Service as _, ServiceExt as _};

use super::dynamic::{Method, bearer, call, furnish, header, mend, methods, prepare};
use crate::common::rekey::{Rekey, START, reason};

const WHO_AM_I: &str = "/rekey.v1.CallerService/WhoAmI";

async fn refused(rekey: &Rekey, method: &Method, metadata: &MetadataMap, message: Vec<u8>) -> (Code, String) {
    let answer = call(rekey.channel(), &method.path, metadata, message).await;
    let status = answer.err().unwrap_or_else(|| panic!("{} let it pass", method.path));
    (status.code(), reason(&status))
}

/// Every message that must not matter to who is not let in: a good one, an empty one, and one that is none.
fn messages(method: &Method) -> [Vec<u8>; 3] {
    [method.request("acme").encode_to_vec(), Vec::new(), vec![0xff; 9]]
}

async fn token_of(rekey: &Rekey, tenant_id: &str, permissions: Vec<String>) -> String {
    let permissions: Vec<_> = permissions.iter().map(String::as_str).collect();
    rekey.make_caller(tenant_id, &permissions).await
}

fn all_but(missing: Option<Permission>) -> Vec<String> {
    Permission::all().filter(|held| Some(*held) != missing).map(|held| held.as_str().to_owned()).collect()
}

/// A token of a caller that may do everything, with its ids.
async fn issue(rekey: &Rekey, expire_seconds: Option<i64>) -> (String, RevokeApiTokenRequest) {
    let mut callers = rekey.admin().callers;
    let tenant_id = "acme".to_owned();
    let request =
        CreateCallerRequest { tenant_id: tenant_id.clone(), permissions: vec!["*".to_owned()], ..Default::default() };
    let caller_id = callers.create_caller(request).await.unwrap().into_inner().caller.unwrap().caller_id;
    let expire_time = expire_seconds.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 });
    let request = CreateApiTokenRequest {
        tenant_id: tenant_id.clone(),
        caller_id: caller_id.clone(),
        expire_time,
        ..CreateApiTokenRequest::default()
    };
    let made = callers.create_api_token(request).await.unwrap().into_inner();
    (made.token, RevokeApiTokenRequest { tenant_id, caller_id, token_id: made.token_id, ..Default::default() })
}

#[tokio::test]
async fn no_method_answers_who_has_no_good_credential_whatever_the_message() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let (revoked, which) = issue(&rekey, None).await;
    rekey.admin().callers.revoke_api_token(which).await.unwrap();
    let (expired, _) = issue(&rekey, Some(START + 60)).await;
    rekey.clock.advance(Duration::from_mins(2));
    let altered = format!("{}x", rekey.admin_token);
    let credentials = [
        (MetadataMap::new(), "CREDENTIAL_MISSING"),
        (header("authorization", "Basic YTpi"), "CREDENTIAL_MISSING"),
        (header("authorization", "Bearer "), "CREDENTIAL_MISSING"),
        (bearer("garbage"), "CREDENTIAL_INVALID"),
        (bearer("a.b.c"), "CREDENTIAL_INVALID"),
        (bearer(&altered), "CREDENTIAL_INVALID"),
        (bearer(&revoked), "CREDENTIAL_INVALID"),
        (bearer(&expired), "CREDENTIAL_EXPIRED"),
    ];
    for method in methods().into_iter().filter(|method| method.access != Access::Anybody) {
        for (metadata, expected) in &credentials {
            for message in messages(&method) {
                let (code, reason) = refused(&rekey, &method, metadata, message).await;
                assert_eq!((code, reason.as_str()), (Code::Unauthenticated, *expected), "{}", method.path);
            }
        }
    }
}

#[tokio::test]
async fn what_is_for_anybody_is_named_here_and_looks_at_no_credential() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let mut open: Vec<_> = methods().into_iter().filter(|method| method.access == Access::Anybody).collect();
    open.sort_by(|one, other| one.path.cmp(&other.path));
    let names: Vec<_> = open.iter().filter_map(|method| method.path.rsplit('.').next()).collect();
    assert_eq!(names, ["TokenService/ExchangeClientCredentials", "TokenService/GetKeySet", "UserService/IssueToken"]);
    let admin = bearer(&rekey.admin_token);
    for method in open {
        let mut answers = Vec::new();
        for metadata in [&MetadataMap::new(), &bearer("garbage"), &header("authorization", "Basic YTpi"), &admin] {
            let mut metadata = metadata.clone();
            metadata.insert("x-request-id", "the same".parse().unwrap());
            let answer = call(rekey.channel(), &method.path, &metadata, method.request("acme").encode_to_vec()).await;
            answers.push(answer.map_err(|status| (status.code(), reason(&status), status.details().to_vec())));
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{}: {answers:?}", method.path);
    }
}

#[tokio::test]
async fn every_permission_but_the_one_is_too_little_whatever_the_message() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    for method in methods() {
        let Access::Holding(permission) = method.access else { continue };
        for tenant_id in ["acme", "system"] {
            let token = token_of(&rekey, tenant_id, all_but(Some(permission))).await;
            for message in messages(&method) {
                let status = call(rekey.channel(), &method.path, &bearer(&token), message).await.unwrap_err();
                assert_eq!(status.code(), Code::PermissionDenied, "{}: {status:?}", method.path);
                let info = status.get_details_error_info().unwrap();
                assert_eq!(info.reason, "PERMISSION_MISSING");
                assert_eq!(info.metadata["permission"], permission.as_str());
            }
        }
    }
}

#[tokio::test]
async fn the_one_permission_is_enough() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    for method in methods() {
        let held = match method.access {
            Access::Holding(permission) => vec![permission.as_str().to_owned()],
            Access::AnyCaller | Access::Anybody => Vec::new(),
        };
        let token = token_of(&rekey, "system", held).await;
        // Whoever may know whether he may call something is told by asking for what he may.
        let mut request = method.request("acme");
        if method.path.ends_with("/CheckAccess") {
            request.set_field_by_name("method", prost_reflect::Value::String("rekey.v1.CallerService/WhoAmI".into()));
        }
        prepare(&rekey, &method, "acme").await;
        let answer = call(rekey.channel(), &method.path, &bearer(&token), request.encode_to_vec()).await;
        let code = answer.map_or_else(|status| status.code(), |_| Code::Ok);
        mend(&rekey, &method, "acme").await;
        // The unknown token to be revoked or rotated, and the API key; the unknown key whose secret or signature is shown.
        let unknown = ["/Revoke", "/Rotate", "/PromoteCredential", "/RollBackCredential", "/SwapCredential"];
        let revoked = unknown.iter().any(|verb| method.path.contains(verb)).then_some(Code::NotFound);
        let exchanged = method.path.contains("/Exchange").then_some(Code::Unauthenticated);
        // A tenant that issues no tokens.
        let issued = method.path.ends_with("/IssueToken").then_some(Code::FailedPrecondition);
        // The unknown job.
        let of_a_job = method.descriptor.input().get_field_by_name("job_id").map(|_| Code::NotFound);
        let good = [Code::Ok].into_iter().chain(revoked).chain(exchanged).chain(issued).chain(of_a_job);
        assert!(good.into_iter().any(|good| good == code), "{}: {code:?}", method.path);
    }
}

#[tokio::test]
async fn another_tenant_looks_as_if_it_were_not_there() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    furnish(&rekey, "other").await;
    for permissions in [all_but(None), vec!["*".to_owned()]] {
        let mut metadata = bearer(&token_of(&rekey, "other", permissions).await);
        metadata.insert("x-request-id", "the same".parse().unwrap());
        // What is for anybody reaches every tenant, and shows none.
        let guarded = methods().into_iter().filter(|method| method.access != Access::Anybody);
        for method in guarded.filter(Method::names_tenant) {
            let ask = async |tenant: &str| -> Status {
                let message = method.request(tenant).encode_to_vec();
                call(rekey.channel(), &method.path, &metadata, message).await.unwrap_err()
            };
            let (foreign, unknown) = (ask("acme").await, ask("nowhere").await);
            assert_eq!(foreign.code(), Code::NotFound, "{}: {foreign:?}", method.path);
            assert_eq!(reason(&foreign), "TENANT_NOT_FOUND", "{}", method.path);
            assert_eq!(foreign.message(), unknown.message());
            assert_eq!((foreign.code(), foreign.details()), (unknown.code(), unknown.details()), "{}", method.path);
        }
        let make = methods().into_iter().find(|method| method.path.ends_with("/CreateTenant")).unwrap();
        let denied = refused(&rekey, &make, &metadata, make.request("acme").encode_to_vec()).await;
        assert_eq!(denied, (Code::PermissionDenied, "PERMISSION_MISSING".to_owned()));
    }
}

#[tokio::test]
async fn headers_that_claim_an_identity_change_nothing() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    furnish(&rekey, "other").await;
    let admin = format!("Bearer {}", rekey.admin_token);
    let claims: Vec<(&'static str, &str)> = vec![
        ("x-tenant-id", "acme"),
        ("x-forwarded-user", "admin"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-rekey-caller", "system/admin"),
        ("x-rekey-tenant", "system"),
        ("grpc-metadata-authorization", &admin),
        ("proxy-authorization", &admin),
        ("cookie", &admin),
    ];
    let claim = |mut metadata: MetadataMap| {
        for (name, value) in &claims {
            metadata.insert(*name, value.parse().unwrap());
        }
        metadata
    };
    let nobody = call(rekey.channel(), WHO_AM_I, &claim(MetadataMap::new()), Vec::new()).await.unwrap_err();
    assert_eq!((nobody.code(), reason(&nobody).as_str()), (Code::Unauthenticated, "CREDENTIAL_MISSING"));

    let token = token_of(&rekey, "other", vec!["users:get".to_owned()]).await;
    let with = call(rekey.channel(), WHO_AM_I, &claim(bearer(&token)), Vec::new()).await.unwrap();
    let without = call(rekey.channel(), WHO_AM_I, &bearer(&token), Vec::new()).await.unwrap();
    assert_eq!(with, without);
    let who = WhoAmIResponse::decode(with).unwrap();
    assert_eq!((who.tenant_id.as_str(), who.permissions), ("other", vec!["users:get".to_owned()]));
    let get = methods().into_iter().find(|method| method.path.ends_with("/GetUser")).unwrap();
    let foreign = refused(&rekey, &get, &claim(bearer(&token)), get.request("acme").encode_to_vec()).await;
    assert_eq!(foreign, (Code::NotFound, "TENANT_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_credential_is_given_once_and_x_auth_token_alone_counts_where_it_is_sent() {
    let rekey = Rekey::start().await;
    let good = format!("Bearer {}", rekey.admin_token);
    let ask = async |headers: &[(&'static str, &str)]| {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.append(*name, value.parse().unwrap());
        }
        let answer = call(rekey.channel(), WHO_AM_I, &metadata, Vec::new()).await;
        answer.map_or_else(|status| reason(&status), |_| String::new())
    };
    assert_eq!(ask(&[("authorization", &good)]).await, "");
    assert_eq!(ask(&[("x-auth-token", &rekey.admin_token)]).await, "");
    assert_eq!(ask(&[("authorization", &good), ("authorization", &good)]).await, "CREDENTIAL_INVALID");
    assert_eq!(ask(&[("authorization", "Bearer x"), ("authorization", &good)]).await, "CREDENTIAL_INVALID");
    let twice = [("x-auth-token", rekey.admin_token.as_str()), ("x-auth-token", &rekey.admin_token)];
    assert_eq!(ask(&twice).await, "CREDENTIAL_INVALID");
    assert_eq!(ask(&[("x-auth-token", &rekey.admin_token), ("authorization", "Bearer x")]).await, "");
    assert_eq!(ask(&[("x-auth-token", "x"), ("authorization", &good)]).await, "CREDENTIAL_INVALID");
}

/// The `grpc-status` of a call to a path that no client would make.
async fn status_of(rekey: &Rekey, path: &str, headers: &HeaderMap, message: &[u8]) -> i32 {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let uri: Uri = format!("http://{}{path}", rekey.grpc).parse().unwrap();
    assert!(uri.path_and_query().unwrap().as_str() == path, "{path} was changed on the way");
    let mut request = http::Request::post(uri).body(tonic::body::Body::new(http_body_util::Full::from(frame))).unwrap();
    *request.headers_mut() = headers.clone();
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let mut channel = rekey.channel();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    let (head, body) = response.into_parts();
    let trailers = http_body_util::BodyExt::collect(body).await.unwrap().trailers().cloned().unwrap_or_default();
    let status = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
    status.unwrap_or_else(|| panic!("{path}: no status in {head:?}")).to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_the_gate() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let message = GetUserRequest { tenant_id: "acme".to_owned(), user_id: "ada".to_owned() }.encode_to_vec();
    let plain = "/rekey.v1.UserService/GetUser";
    let nobody = HeaderMap::new();
    let mut admin = HeaderMap::new();
    admin.insert("authorization", format!("Bearer {}", rekey.admin_token).parse().unwrap());
    assert_eq!(status_of(&rekey, plain, &admin, &message).await, 0);
    // A query is no part of the name.
    for path in [plain, "/rekey.v1.UserService/GetUser?x=1", "/rekey.v1.UserService/GetUser?"] {
        assert_eq!(status_of(&rekey, path, &nobody, &message).await, Code::Unauthenticated as i32, "{path}");
    }
    for path in [
        "/rekey.v1.UserService/GetUser/",
        "//rekey.v1.UserService/GetUser",
        "/rekey.v1.UserService//GetUser",
        "/./rekey.v1.UserService/GetUser",
        "/x/../rekey.v1.UserService/GetUser",
        "/rekey.v1.userservice/getuser",
        "/REKEY.V1.USERSERVICE/GETUSER",
        "/rekey.v1.UserService%2fGetUser",
        "/rekey.v1.UserService%2FGetUser",
        "/%72ekey.v1.UserService/GetUser",
        "/rekey.v1.UserService/GetUser%00",
        "/rekey.v1.UserService/GetUser;x=1",
        "/rekey.v1.UserService/",
        "/rekey.v1.UserService",
        "/rekey.v1.UserService/*",
        "/rekey.v1.UserService/GetEverything",
        "/grpc.health.v1.Health/../../rekey.v1.UserService/GetUser",
        "/grpc.x/rekey.v1.UserService/GetUser",
        "/grpc./rekey.v1.UserService/GetUser",
        "/grpc.%2e%2e/rekey.v1.UserService/GetUser",
        "/",
    ] {
        for headers in [&nobody, &admin] {
            let status = status_of(&rekey, path, headers, &message).await;
            assert_eq!(status, Code::Unimplemented as i32, "{path}");
        }
    }
}

#[tokio::test]
async fn health_is_told_to_everybody_and_for_each_service() {
    let rekey = Rekey::start().await;
    let mut health = HealthClient::new(rekey.channel());
    let services = rekey::proto::DESCRIPTORS.services().filter(|service| service.package_name() == "rekey.v1");
    let services = services.map(|service| service.full_name().to_owned()).chain([String::new()]);
    for service in services {
        let answer = health.check(HealthCheckRequest { service: service.clone() }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(HealthCheckRequest { service: "rekey.v1.NoService".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

macro_rules! reflected {
    ($version:ident, $rekey:expr) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let mut client = ServerReflectionClient::new($rekey.channel());
        match client.server_reflection_info(Request::new(tokio_stream::iter([request]))).await {
            Ok(answers) => {
                let answer = answers.into_inner().message().await.unwrap().unwrap();
                let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!() };
                Ok(list.service.into_iter().map(|service| service.name).collect::<Vec<_>>())
            }
            Err(status) => Err(status.code()),
        }
    }};
}

#[tokio::test]
async fn reflection_is_there_in_both_versions_unless_it_is_off() {
    let rekey = Rekey::start().await;
    for listed in [reflected!(v1, rekey), reflected!(v1alpha, rekey)] {
        let listed = listed.unwrap();
        for service in rekey::proto::DESCRIPTORS.services().filter(|service| service.package_name() == "rekey.v1") {
            assert!(listed.iter().any(|name| name == service.full_name()), "{} is not in {listed:?}", service.name());
        }
        assert!(listed.iter().any(|name| name == "grpc.health.v1.Health"), "{listed:?}");
    }
    let without = Rekey::start_with(|options| options.reflection = false).await;
    assert_eq!(reflected!(v1, without), Err(Code::Unimplemented));
    assert_eq!(reflected!(v1alpha, without), Err(Code::Unimplemented));
    // And it is a service like any other: what it lists is still guarded.
    let guarded = without.clients("").callers.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(guarded.code(), Code::Unauthenticated);
}
