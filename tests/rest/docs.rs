//! The OpenAPI documents and their page, through a listening gateway. What a browser makes of the page, and a fuzzer of the
//! documents, is in tests/interop.

use std::{collections::BTreeSet, env, fs, path::Path, time::Duration};

use rekey::gateway::{Gateway, GatewayOptions};
use serde_json::Value;
use tonic::transport::Endpoint;

use crate::{
    routes,
    wire::{Reply, is, send},
};

/// Set to have the goldens written instead of compared.
const WRITE: &str = "REKEY_WRITE_GOLDEN";

/// A gateway alone: what it says of itself needs no service.
async fn gateway(docs: bool) -> Gateway {
    let upstream = Endpoint::from_static("http://127.0.0.1:1");
    let listen = "127.0.0.1:0".parse().unwrap();
    Gateway::start(GatewayOptions { listen, upstream, drain: Duration::from_secs(1), identity: None, docs })
        .await
        .unwrap()
}

async fn get(gateway: &Gateway, path: &str) -> Reply {
    send(gateway.address(), "GET", path, &[], "").await
}

async fn document(path: &str) -> Value {
    let gateway = gateway(true).await;
    let reply = get(&gateway, path).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    serde_json::from_str(&reply.body).unwrap()
}

#[tokio::test]
async fn the_documents_are_the_ones_that_were_looked_at() {
    for (path, golden) in [("/openapi.json", "canonical.json"), ("/openapi-dialects.json", "dialects.json")] {
        let mut found = serde_json::to_string_pretty(&document(path).await).unwrap();
        found.push('\n');
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi").join(golden);
        if env::var_os(WRITE).is_some() {
            fs::write(&file, &found).unwrap();
        }
        let wanted = fs::read_to_string(&file).unwrap();
        let differs = found.lines().zip(wanted.lines()).enumerate().find(|(_, (found, wanted))| found != wanted);
        assert!(
            found == wanted,
            "tests/openapi/{golden} is not what the gateway says, first at {differs:?}: look at the difference, \
             then write it with {WRITE}=1 cargo test --test rest documents"
        );
    }
}

#[tokio::test]
async fn every_route_is_described_and_every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let canonical = document("/openapi.json").await;
    let described: BTreeSet<(String, String)> = canonical["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            let path = path.replace("{tenant_id}", "acme").replace(['{', '}'], "");
            operations.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routes: BTreeSet<_> = routes().into_iter().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(described, routes);

    for document in [canonical, document("/openapi-dialects.json").await] {
        assert_eq!(document["openapi"], "3.1.0");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        let mut ids = BTreeSet::new();
        for operation in
            document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
        {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} stands twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{id} has no summary");
            assert!(operation["security"].is_array() || document["security"].is_array(), "{id}: who may call?");
        }
    }
}

#[tokio::test]
async fn the_page_and_all_its_parts_are_the_gateways_own() {
    let gateway = gateway(true).await;
    let page = get(&gateway, "/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self';", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{rule} is not in {policy}");
    }
    assert_eq!((page.header("x-content-type-options"), page.header("x-frame-options")), ("nosniff", "DENY"));
    assert_eq!((page.header("referrer-policy"), page.header("cache-control")), ("no-referrer", "no-store"));
    assert!(!page.body.contains("//"), "the page names another place");
    assert_eq!(get(&gateway, "/docs/").await.body, page.body);

    let parts: Vec<_> = page.body.split('"').filter(|part| part.starts_with('/')).collect();
    assert!(parts.len() >= 6, "{parts:?}");
    for part in parts {
        // Compressed, so it is no text: the head alone is read.
        let reply = send(gateway.address(), "HEAD", part, &[("accept-encoding", "gzip")], "").await;
        assert_eq!((reply.status, reply.header("x-content-type-options")), (200, "nosniff"), "{part}");
        assert_eq!(reply.header("content-encoding").is_empty(), !part.contains("swagger-ui"), "{part}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_there() {
    let shown = gateway(true).await;
    let plain =
        send(shown.address(), "GET", "/docs/swagger-ui-5.35.0.js", &[("accept-encoding", "identity")], "").await;
    assert_eq!(plain.status, 406);
    for path in ["/openapi.json", "/docs"] {
        let reply = send(shown.address(), "POST", path, &[], "").await;
        assert_eq!(reply.error(), is(405, 12, "METHOD_NOT_ALLOWED"));
        assert_eq!(reply.header("allow"), "GET, HEAD");
    }
    for path in ["/docs/../docs", "/docs//", "/docs/README.md", "/openapi.yaml", "/Docs"] {
        assert!([400, 404].contains(&get(&shown, path).await.status), "{path}");
    }
    let hidden = gateway(false).await;
    for path in ["/openapi.json", "/openapi-dialects.json", "/docs", "/docs/page.js", "/docs/swagger-ui-5.35.0.js"] {
        assert_eq!(get(&hidden, path).await.error(), is(404, 5, "ROUTE_NOT_FOUND"), "{path}");
    }
}
