//! Running commands: one named transaction each, in a task of its own, tried again where the database asks for it.
//!
//! A request's future is dropped when its client goes away, and a `begin` that is dropped in flight leaves PostgreSQL's
//! pooled connection inside a transaction for its next borrower (sqlx 0.9.0). So no transaction is begun elsewhere.

use std::{
    hash::{BuildHasher as _, RandomState},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};
use tracing::Instrument as _;

use super::{
    Reply, Store,
    apart::{self, Part, set_aside},
    doubt::Doubt,
    error::{Failure, no_answer, outcome_unknown},
    reply,
};
use crate::{
    domain::{Error, Result, Timestamp},
    planted::{Bug, is_planted},
};

/// How often a transaction is tried.
const ATTEMPTS: u32 = 5;
/// How long one may take: the server ends each of its statements sooner. Past it nobody answers any more, and the
/// connection is given up.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A change of the database as data: what it needs is its own, so it can be tried again.
pub(super) trait Command: Send + Sync + 'static {
    /// Its name in logs.
    const NAME: &'static str;
    /// Whether it leaves alone all that says who may call and what for, and which passwords are right. What others remember
    /// of that is void after any other command, so nothing has to be done about it where a command is added.
    const BOOKKEEPING: bool = false;
    /// How long it may take.
    const TIMEOUT: Duration = TIMEOUT;
    /// Whether a copy of the database from before it is an older one.
    const COUNTS: bool = true;
    /// What it answers.
    type Output: Send + 'static;

    /// Does it, within the transaction.
    fn apply(&self, transaction: &DatabaseTransaction) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

impl Store {
    /// Runs a command to its end, also when the caller no longer waits.
    pub(super) async fn run<C: Command>(&self, command: C) -> Result<C::Output> {
        let (writer, reply) = (self.writer.clone(), self.reply.clone());
        let (changes, acts) = (Arc::clone(&self.changes), Arc::clone(&self.acts));
        let doubt = self.doubt.clone();
        // In a box: what a command needs while it runs is no part of the futures of all that ask for it.
        let work = Box::pin(async move {
            let mut attempt = 1;
            loop {
                match within(C::TIMEOUT, &doubt, try_once(&writer, &command, reply.as_deref())).await {
                    Err(failure) if failure.is_transient() && attempt < ATTEMPTS => {
                        tracing::debug!(attempt, "the database asks to try again");
                        tokio::time::sleep(backoff(attempt)).await;
                        attempt += 1;
                    }
                    outcome => {
                        tracing::debug!(attempt, committed = outcome.is_ok(), "ended");
                        if outcome.as_ref().is_err_and(Failure::is_of_the_database) {
                            doubt.arise();
                        }
                        // A failed one may have been done all the same.
                        if !C::BOOKKEEPING {
                            changes.fetch_add(1, Ordering::SeqCst);
                        }
                        if C::COUNTS {
                            acts.fetch_add(1, Ordering::SeqCst);
                        }
                        return outcome;
                    }
                }
            }
        });
        in_own_task(C::NAME, work).await
    }
}

/// Runs to its end in a task of its own, under its name.
async fn in_own_task<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T> {
    let span = tracing::debug_span!("store", command = name);
    if is_planted(Bug::TransactionInCall) {
        return work.instrument(span).await.map_err(Error::from);
    }
    match tokio::spawn(work.instrument(span)).await {
        Ok(outcome) => outcome.map_err(Error::from),
        // Either the runtime stops, or there is a bug; the transaction may have been at its commit.
        Err(error) => Err(outcome_unknown(format!("{name} did not end: {error}"))),
    }
}

/// What comes within the bound, or else that nothing came.
async fn within<T>(
    bound: Duration,
    doubt: &Doubt,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    match tokio::time::timeout(bound, &mut work).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => {
            // Before its connection goes back, so that it is looked at there.
            doubt.arise();
            Err(no_answer())
        }
    }
}

/// Begins a transaction that will write.
pub(super) async fn begin(writer: &DatabaseConnection) -> Result<DatabaseTransaction, Failure> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    Ok(writer.begin_with_options(options).await?)
}

async fn try_once<C: Command>(
    writer: &DatabaseConnection,
    command: &C,
    reply: Option<&(Reply, Timestamp)>,
) -> Result<C::Output, Failure> {
    let transaction = begin(writer).await?;
    let apply = async {
        if let Some((reply, now)) = reply
            && (is_planted(Bug::ReplyApart) || is_planted(Bug::TransactionInCall))
        {
            set_aside(Part::Reply(Box::new(reply.clone()), *now));
        } else if let Some((reply, now)) = reply {
            reply::insert(&transaction, reply, *now).await?;
        }
        command.apply(&transaction).await
    };
    match apply.await {
        Ok(output) if is_planted(Bug::AnswerBeforeCommit) => {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                transaction.commit().await
            });
            Ok(output)
        }
        Ok(output) => {
            let committed = transaction.commit().await.map_err(Failure::of_commit);
            if !is_planted(Bug::CommitErrorIgnored) {
                committed?;
            }
            if cfg!(debug_assertions) {
                apart::write(writer).await?;
            }
            Ok(output)
        }
        Err(failure) if is_planted(Bug::ConnectionLeaked) => {
            std::mem::forget(transaction);
            Err(failure)
        }
        Err(failure) => {
            // Where it fails the connection is broken, and the server rolls back by itself.
            if let Err(error) = transaction.rollback().await {
                tracing::debug!(%error, "no answer to a rollback");
            }
            Err(failure)
        }
    }
}

/// A few milliseconds, longer each time, and never the same for two that met.
fn backoff(attempt: u32) -> Duration {
    let jitter = RandomState::new().hash_one(attempt) % 4_000;
    Duration::from_micros((1_000 + jitter) * u64::from(attempt))
}
