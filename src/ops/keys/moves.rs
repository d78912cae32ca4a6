//! API tokens under a digest key that another one followed: each moves behind its next successful use, for only then is
//! the token here. Who would move back what another process moved forward does not: a key that is merely not the one that
//! makes here may be the newer one.

use tokio::sync::mpsc;

use crate::{
    crypto::{Keyring, token::token_id},
    domain::{Secret, Slot, Timestamp},
    store::{Store, TokenMove},
};

/// Moves that may wait. Past it they are dropped: the next use brings the next chance.
const WAITING: usize = 256;

/// The moving of tokens.
#[derive(Clone)]
pub(in crate::ops) struct Moves(mpsc::Sender<TokenMove>);

impl Moves {
    pub(in crate::ops) fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(work(store, receiver));
        Self(sender)
    }

    /// Has a token moved that was just found good, where its key was followed by another.
    pub(in crate::ops) fn offer(&self, keyring: &Keyring, token: &str, found: &Secret, now: Timestamp) {
        if !keyring.is_followed(&found.key_id) {
            return;
        }
        let (key_id, digest) = keyring.digest_of(token.as_bytes());
        let lookup_key = match token_id(token) {
            Some(_) => None,
            None => keyring.given_token_ids(token.as_bytes(), now).into_iter().next().and_then(|id| {
                let id: Slot = Slot::ApiToken(id);
                id.lookup_key()
            }),
        };
        let _ = self.0.try_send(TokenMove { old: found.clone(), key_id, digest: digest.to_vec(), lookup_key });
    }
}

async fn work(store: Store, mut queue: mpsc::Receiver<TokenMove>) {
    while let Some(next) = queue.recv().await {
        match store.move_token(next).await {
            Ok(moved) => tracing::debug!(moved, "a token under an older digest key"),
            Err(error) => tracing::warn!(reason = ?error.reason(), cause = ?error.cause(), "a token was not moved"),
        }
    }
}
