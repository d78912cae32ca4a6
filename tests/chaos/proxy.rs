//! A TCP proxy that misbehaves as networks do, for every connection through it from the moment it is told.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Hands everything on.
    Good,
    /// Hands each piece on after this long.
    Slow(Duration),
    /// Reads nothing and keeps everything open; goes on where it stood once it is good again.
    Stalled,
    /// Swallows everything and keeps everything open. What was connected then is cut once it is good again: it lost bytes.
    BlackHole,
    /// Closes every connection in order, and each new one.
    Closing,
    /// Breaks every connection off (RST), and each new one.
    Resetting,
    /// Closes the way back from the server, and keeps the way to it open.
    HalfClosed,
}

/// A proxy that runs until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// In front of this server.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = watch::Sender::new(Network::Good);
        let changes = network.subscribe();
        let listening = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(connect(client, server, changes.clone()));
            }
        });
        Self { address, network, listening }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub(crate) fn become_(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A connection that is to be broken off, in both directions.
struct Broken;

async fn connect(client: TcpStream, server: SocketAddr, mut network: watch::Receiver<Network>) {
    // In a hole not even a connection comes about; the kernel has taken this one, so it is let wait.
    loop {
        let now = *network.borrow_and_update();
        match now {
            Network::Resetting => return drop(client.set_zero_linger()),
            Network::Closing => return,
            Network::BlackHole | Network::Stalled => {
                if network.changed().await.is_err() {
                    return;
                }
                if now == Network::BlackHole {
                    return drop(client.set_zero_linger());
                }
            }
            Network::Good | Network::Slow(_) | Network::HalfClosed => break,
        }
    }
    let Ok(server) = TcpStream::connect(server).await else { return drop(client.set_zero_linger()) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = carry(from_client, to_server, network.clone(), false);
    let back = carry(from_server, to_client, network, true);
    // Where one direction is broken the other is dropped, and with its halves both sockets.
    let _ = tokio::try_join!(there, back);
}

/// Carries bytes one way.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    is_back: bool,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 16 * 1024];
    let mut lost = false;
    loop {
        let now = *network.borrow_and_update();
        match now {
            Network::Resetting => {
                let _ = (from.as_ref().set_zero_linger(), to.as_ref().set_zero_linger());
                return Err(Broken);
            }
            Network::Closing => return Err(Broken),
            Network::HalfClosed if is_back => {
                let _ = to.shutdown().await;
                return Ok(());
            }
            Network::Stalled => {
                if network.changed().await.is_err() {
                    return Err(Broken);
                }
                continue;
            }
            Network::Good | Network::Slow(_) | Network::HalfClosed if lost => {
                let _ = (from.as_ref().set_zero_linger(), to.as_ref().set_zero_linger());
                return Err(Broken);
            }
            Network::Good | Network::Slow(_) | Network::HalfClosed | Network::BlackHole => {}
        }
        let read = tokio::select! {
            changed = network.changed() => if changed.is_ok() { continue } else { return Err(Broken) },
            read = from.read(&mut buffer) => read,
        };
        let Ok(read) = read else { return Err(Broken) };
        if now == Network::BlackHole {
            lost = true;
            if read == 0 {
                // The end is swallowed like everything else.
                let _ = network.wait_for(|now| *now != Network::BlackHole).await;
            }
            continue;
        }
        if let Network::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if read == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return Err(Broken);
        }
    }
}
