//! HTTP/1.1 as plain text, so that a test can send what no client library would.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    /// A header's value; empty where absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// As an error of the canonical API: status, gRPC code and reason.
    pub(crate) fn error(&self) -> (u16, i64, String) {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["code", "details", "message"]);
        let mut details = body["details"].as_array().unwrap().iter();
        let info = details.find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo").unwrap();
        assert_eq!(info["domain"], "rekey");
        (self.status, body["code"].as_i64().unwrap(), info["reason"].as_str().unwrap().to_owned())
    }
}

/// Status, gRPC code and reason of an error.
pub(crate) fn is(status: u16, code: i64, reason: &str) -> (u16, i64, String) {
    (status, code, reason.to_owned())
}

/// One request on a connection of its own.
pub(crate) async fn send(to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let length = ("content-length", &*body.len().to_string());
    let length = (!body.is_empty()).then_some(&length);
    let lines: Vec<_> = headers.iter().chain(length).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {target} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{}", lines.concat());
    send_raw(to, format!("{head}\r\n{body}").as_bytes()).await
}

/// Bytes as they are; the answer that they get before the connection ends.
pub(crate) async fn send_raw(to: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // A server that has seen enough may stop reading.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Reply { status, headers: headers.collect(), body: body.to_owned() }
}
