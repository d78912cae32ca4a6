//! The accept loop's bounds, on real sockets and a clock that the tests turn.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{io::ErrorKind, net::SocketAddr, sync::mpsc, time::Duration};

use rekey::listen::{Connection, Incoming, Limits};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::advance,
};
use tokio_stream::StreamExt as _;

const LIMITS: Limits = Limits {
    first_bytes: 24,
    first_bytes_within: Duration::from_secs(5),
    idle: Duration::from_mins(10),
    connections: 3,
    connections_per_peer: 2,
};

/// The clock moves only by `advance`: tokio turns a paused clock by itself whenever it waits for a socket, except while
/// a blocking task runs.
struct StoppedClock(#[expect(dead_code, reason = "held")] mpsc::Sender<()>);

impl StoppedClock {
    fn stop() -> Self {
        let (held, ended) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || ended.recv().is_err());
        Self(held)
    }
}

async fn bind(limits: Limits) -> Incoming {
    Incoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)), limits).await.unwrap()
}

async fn pair(incoming: &mut Incoming) -> (TcpStream, Connection) {
    let client = TcpStream::connect(incoming.address()).await.unwrap();
    (client, incoming.next().await.unwrap().unwrap())
}

/// The connection's read, polled once, so that it waits before the clock is turned.
macro_rules! read_waits {
    ($read:expr) => {
        tokio::select! {
            biased;
            result = &mut $read => panic!("the read did not wait: {result:?}"),
            () = std::future::ready(()) => {}
        }
    };
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_at_the_deadline() {
    let _clock = StoppedClock::stop();
    let mut incoming = bind(LIMITS).await;
    let (_client, mut connection) = pair(&mut incoming).await;

    let mut buffer = [0; 64];
    let mut read = Box::pin(connection.read(&mut buffer));
    read_waits!(read);
    advance(Duration::from_millis(4_999)).await;
    read_waits!(read);
    advance(Duration::from_millis(2)).await;
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn half_a_preface_byte_by_byte_does_not_put_the_deadline_off() {
    let _clock = StoppedClock::stop();
    let mut incoming = bind(LIMITS).await;
    let (mut client, mut connection) = pair(&mut incoming).await;

    let mut byte = [0];
    for _ in 0..12 {
        client.write_all(b"P").await.unwrap();
        connection.read_exact(&mut byte).await.unwrap();
        advance(Duration::from_millis(400)).await;
    }
    advance(Duration::from_millis(400)).await;
    client.write_all(b"P").await.unwrap();
    assert_eq!(connection.read(&mut byte).await.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_talking_connection_outlives_the_deadline_and_ends_when_idle() {
    let _clock = StoppedClock::stop();
    let mut incoming = bind(LIMITS).await;
    let (mut client, mut connection) = pair(&mut incoming).await;

    let mut buffer = [0; 24];
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    connection.read_exact(&mut buffer).await.unwrap();
    for _ in 0..5 {
        advance(Duration::from_secs(590)).await;
        client.write_all(b"x").await.unwrap();
        connection.read_exact(&mut buffer[..1]).await.unwrap();
    }
    // What we write counts too.
    advance(Duration::from_secs(590)).await;
    connection.write_all(b"y").await.unwrap();

    let mut read = Box::pin(connection.read(&mut buffer));
    advance(Duration::from_secs(590)).await;
    read_waits!(read);
    advance(Duration::from_secs(11)).await;
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_ends_when_idle() {
    let _clock = StoppedClock::stop();
    let mut incoming = bind(Limits { first_bytes: 0, ..LIMITS }).await;
    let (_client, mut connection) = pair(&mut incoming).await;

    let flood = vec![0; 64 << 20];
    let mut write = Box::pin(connection.write_all(&flood));
    read_waits!(write);
    advance(Duration::from_secs(601)).await;
    assert_eq!(write.await.unwrap_err().kind(), ErrorKind::TimedOut);
}

#[tokio::test]
async fn one_peer_gets_no_more_than_its_share_until_it_gives_back() {
    let mut incoming = bind(LIMITS).await;
    let (_first_client, first) = pair(&mut incoming).await;
    let (_second_client, _second) = pair(&mut incoming).await;

    let mut refused = TcpStream::connect(incoming.address()).await.unwrap();
    tokio::select! {
        biased;
        connection = incoming.next() => panic!("one too many was let in: {connection:?}"),
        read = refused.read_u8() => assert!(read.is_err(), "closed at once, without a byte"),
    }

    drop(first);
    pair(&mut incoming).await;
}

#[tokio::test]
async fn all_peers_together_get_no_more_than_there_is_until_they_give_back() {
    let mut incoming = bind(Limits { connections: 2, connections_per_peer: 64, ..LIMITS }).await;
    let (_first_client, first) = pair(&mut incoming).await;
    let (_second_client, _second) = pair(&mut incoming).await;

    let mut refused = TcpStream::connect(incoming.address()).await.unwrap();
    tokio::select! {
        biased;
        connection = incoming.next() => panic!("one too many was let in: {connection:?}"),
        read = refused.read_u8() => assert!(read.is_err(), "closed at once, without a byte"),
    }

    drop(first);
    pair(&mut incoming).await;
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let incoming = bind(LIMITS).await;
    let error = Incoming::bind(incoming.address(), LIMITS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}
