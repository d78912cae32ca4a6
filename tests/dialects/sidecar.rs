//! What the gateway is towards the service, whatever the dialect: which headers go on, what becomes of failures, and how
//! it stops.

use std::sync::{Arc, Mutex};

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rekey::proto::{GetUserResponse, WhoAmIResponse};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    stand_in::{CHECK_ACCESS, Refusal, StandIn, gateway},
    wire::{is, send, send_raw},
};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn only_the_listed_headers_go_on_and_every_answer_has_its_own() {
    let service = StandIn::start().await;
    service.answers("rekey.v1.CallerService/WhoAmI", &WhoAmIResponse::default());
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let listed = [
        ("Authorization", "Bearer a"),
        ("X-Auth-Token", "b"),
        ("Date", "c"),
        ("TraceParent", trace),
        ("X-Request-Id", "d"),
    ];
    let spoofed = [
        "x-forwarded-user",
        "x-tenant-id",
        "grpc-metadata-authorization",
        "x-internal-caller",
        "grpc-timeout",
        "authorization-bin",
        "x_auth_token",
        "te",
        "cookie",
    ];
    let headers: Vec<_> = listed.into_iter().chain(spoofed.map(|name| (name, "spoofed"))).collect();
    let reply = service.send("GET", "/v1/whoami", &headers, "").await;
    assert_eq!(
        (reply.status, reply.header("cache-control"), reply.header("x-request-id"), reply.header("server")),
        (200, "no-store", "d", "")
    );
    let asked = service.asked_once();
    assert!(asked.headers.values().all(|value| value != "spoofed"), "{asked:?}");
    for (name, value) in listed {
        assert_eq!(asked.headers[name.to_lowercase()], value);
    }
    assert_eq!(asked.headers["grpc-timeout"], "10000000u");
    assert_eq!(
        asked.headers.len(),
        listed.len() + ["grpc-timeout", "te", "content-type", "user-agent"].len(),
        "{asked:?}"
    );

    let unknown = service.send("GET", "/v1/nothing", &[], "").await;
    assert_eq!((unknown.header("cache-control"), unknown.header("x-request-id").len()), ("no-store", 36));
    for headers in [
        [("x-auth-token", "a\tb"), ("date", "c")],
        [("date", "a"), ("date", "b")],
        [("authorization", "Bearer ü"), ("date", "c")],
    ] {
        let reply = service.send("GET", "/v1/whoami", &headers, "").await;
        assert_eq!(reply.error(), is(400, 3, "FIELDS_INVALID"));
    }
    assert!(service.asked().is_empty());
    for control in ["\u{1}", "\u{7f}", "\u{0}"] {
        let request = format!(
            "GET /v1/whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer a{control}\r\n\r\n"
        );
        assert_eq!(send_raw(service.gateway.address(), request.as_bytes()).await.status, 400);
    }
    assert!(service.asked().is_empty());
}

#[tokio::test]
async fn codes_have_their_documented_status() {
    let service = StandIn::start().await;
    for (reason, expected, retry_after) in [
        ("OVERLOADED", is(429, 8, "OVERLOADED"), "2"),
        ("RATE_LIMITED", is(429, 8, "RATE_LIMITED"), "2"),
        ("STORE_UNAVAILABLE", is(503, 14, "STORE_UNAVAILABLE"), "2"),
        ("OUTCOME_UNKNOWN", is(500, 2, "OUTCOME_UNKNOWN"), "2"),
        ("INTERNAL", is(500, 13, "INTERNAL"), "2"),
        ("SUBJECT_LOCKED", is(400, 9, "SUBJECT_LOCKED"), "2"),
    ] {
        service.refuses(
            "rekey.v1.CallerService/WhoAmI",
            Refusal { reason, retry_after_millis: Some(1_001), ..Refusal::default() },
        );
        let reply = service.send("GET", "/v1/whoami", &[], "").await;
        assert_eq!((reply.error(), reply.header("retry-after")), (expected, retry_after));
    }
    // Without a reason it was not the service: its words are about our network.
    service.refuses(CHECK_ACCESS, Refusal::default());
    let reply = service.send("POST", "/v1/whoami:checkAccess", &[JSON], "{}").await;
    assert_eq!(reply.error(), is(401, 16, "INTERNAL"));
    assert!(!reply.body.contains("the service's own sentence"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_503_until_it_is() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = gateway(free).await;
    for (method, body) in [("GET", ""), ("POST", "{")] {
        let target = if method == "GET" { "/v1/whoami" } else { "/v1/whoami:checkAccess" };
        let reply = send(gateway.address(), method, target, &[JSON], body).await;
        assert_eq!(reply.error(), is(503, 14, "SERVICE_UNREACHABLE"));
    }
}

#[tokio::test]
async fn http_2_is_spoken_too() {
    let service = StandIn::start().await;
    service.answers("rekey.v1.UserService/GetUser", &GetUserResponse::default());
    let stream = TokioIo::new(TcpStream::connect(service.gateway.address()).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://rekey/v1/tenants/-/users/7").body(String::new()).unwrap();
    let reply = client.send_request(request).await.unwrap();
    assert_eq!((reply.version(), reply.status().as_u16()), (http::Version::HTTP_2, 200));
    assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "{}");
}

#[tokio::test]
async fn stopping_lets_running_requests_finish_and_ends_idle_connections() {
    let service = StandIn::start().await;
    let address = service.gateway.address();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    service.answers("rekey.v1.CallerService/WhoAmI", &WhoAmIResponse::default());
    let held = service.hold().await;
    let running = tokio::spawn(send(address, "GET", "/v1/whoami", &[], ""));
    service.until_asked().await;

    let stopping = tokio::spawn(service.gateway.stop());
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    drop(held);
    assert_eq!(running.await.unwrap().status, 200);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_at_the_end_of_the_drain_time() {
    let service = StandIn::start().await;
    let _held = service.hold().await;
    let mut running = TcpStream::connect(service.gateway.address()).await.unwrap();
    running.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    service.until_asked().await;
    service.gateway.stop().await;
    assert_eq!(running.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_the_call_to_the_service() {
    let service = StandIn::start().await;
    let _held = service.hold().await;
    let mut running = TcpStream::connect(service.gateway.address()).await.unwrap();
    running.write_all(b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    service.until_asked().await;
    drop(running);
    service.until_abandoned().await;
}

#[tokio::test]
async fn a_request_hidden_in_another_gets_no_answer() {
    let service = StandIn::start().await;
    service.answers("rekey.v1.CallerService/WhoAmI", &WhoAmIResponse::default());
    let hidden = "GET /v1/whoami HTTP/1.1\r\nhost: x\r\n\r\n";
    for (lines, body) in [
        ("content-length: 3\r\ncontent-length: 4\r\n", ""),
        ("content-length: +3\r\n", ""),
        ("content-length: 3, 4\r\n", ""),
        ("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "0\r\n\r\n"),
        ("content-length: 4\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding: xchunked\r\ncontent-length: 4\r\n", "0\r\n\r\n"),
        ("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("transfer-encoding : chunked\r\n", "0\r\n\r\n"),
        ("x: a\r\n content-length: 3\r\n", ""),
    ] {
        let request = format!("POST /v1/nothing HTTP/1.1\r\nhost: x\r\n{lines}\r\n{body}{hidden}");
        let reply = send_raw(service.gateway.address(), request.as_bytes()).await;
        assert!((400..500).contains(&reply.status) && !reply.body.contains("HTTP/1.1"), "{lines:?}: {reply:?}");
        assert!(service.asked().is_empty(), "{lines:?}");
    }
}

#[tokio::test]
async fn a_log_line_has_the_route_the_status_and_the_request_id_and_nothing_of_the_request() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("rekey=trace")
        .with_ansi(false)
        .with_writer(move || Log(Arc::clone(&writer)))
        .finish();
    // For the process: one for a thread alone would miss call sites that other tests come to at the same time.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let service = StandIn::start().await;
    let headers =
        [("authorization", "Bearer canary"), ("x-auth-token", "canary"), ("x-request-id", "log-1"), ("date", "canary")];
    for (method, target, body) in [
        ("POST", "/v1/tenants/canary/users/canary:resetPassword", r#"{"newPassword":"canary"}"#),
        ("POST", "/v1/users/canary/reset-password", r#"{"new_password":"canary"}"#),
        ("POST", "/api/v4/change_password?canary", r#"{"username":"canary"}"#),
        ("PUT", "/v2/canary/link/instances/canary/devices/1/authentication", r#"{"password":"canary"}"#),
        ("DELETE", "/v1/organizations/canary/integrations/harmony-mobile", ""),
        ("GET", "/v1/canary", ""),
    ] {
        service.send(method, target, &headers, body).await;
    }
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(!log.contains("canary"), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("request_id=log-1")).count(), 6, "{log}");
    assert!(
        log.contains(r#"method=POST route="/v1/users/{user_id}/reset-password" status=400 request_id=log-1"#),
        "{log}"
    );
}

/// Where the log goes.
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
