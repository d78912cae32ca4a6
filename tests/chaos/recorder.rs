//! The history of a run: what was asked is written down before it is sent, and what came of it after it was answered.
//!
//! An outcome is only as sure as its caller can be: what was cut off, took too long, or met an error at its commit is
//! *unknown*, which is neither done nor refused; and so is what says that the database is not there, even where the
//! service vouches that nothing was done. That claim is kept, and checked for itself.

use std::{
    fmt::Debug,
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;
use tonic::{Code, Status};

use crate::common::rekey::reason;

/// How a call ended, as far as its caller can know.
#[derive(Clone, Debug)]
pub(crate) enum Ended<A> {
    /// Done; this is the answer.
    Acknowledged(A),
    /// Refused for a reason of its own: nothing was done.
    Refused(Code, String),
    /// It may have been done or not, or may be done yet.
    Unknown {
        /// What was said.
        said: String,
        /// Whether the service itself said that nothing was done.
        denied: bool,
    },
}

impl<A> Ended<A> {
    /// What an answer tells.
    pub(crate) fn of(answer: Result<A, Status>) -> Self {
        let status = match answer {
            Ok(answer) => return Self::Acknowledged(answer),
            Err(status) => status,
        };
        let reason = reason(&status);
        match (status.code(), reason.as_str()) {
            // A status without a reason is none of the service's: the connection, or the client's own deadline.
            (Code::Unavailable, "STORE_UNAVAILABLE") => Self::Unknown { said: reason, denied: true },
            (
                Code::Unknown
                | Code::Unavailable
                | Code::Internal
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::DataLoss,
                _,
            )
            | (_, "") => {
                let said = format!("{:?} {reason} {}", status.code(), status.message());
                Self::Unknown { said, denied: false }
            }
            (code, _) => Self::Refused(code, reason),
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Operation<Q, A> {
    /// Counts them in the order in which they began.
    pub(crate) number: u64,
    /// When it began and, where it ended, when, on one count of all beginnings and ends.
    pub(crate) invoked: u64,
    /// The same count.
    pub(crate) ended: Option<u64>,
    /// What was asked.
    pub(crate) asked: Q,
    /// How it ended; not yet, or never, where absent.
    pub(crate) outcome: Option<Ended<A>>,
}

/// What was asked and answered, by any number of callers.
pub(crate) struct Recorder<Q, A> {
    history: Mutex<History<Q, A>>,
    begun: watch::Sender<u64>,
}

struct History<Q, A> {
    operations: Vec<Operation<Q, A>>,
    moments: u64,
    /// A line for each beginning and end, in time for each to be there whatever comes next.
    file: File,
}

impl<Q: Clone + Debug, A: Clone + Debug> Recorder<Q, A> {
    /// Writes into this file as well.
    pub(crate) fn new(file: &Path) -> Arc<Self> {
        let history = History { operations: Vec::new(), moments: 0, file: File::create(file).unwrap() };
        Arc::new(Self { history: Mutex::new(history), begun: watch::Sender::new(0) })
    }

    /// Writes down what is about to be sent; its number.
    pub(crate) fn invoke(&self, asked: Q) -> u64 {
        let mut history = self.history.lock().unwrap();
        let number = history.operations.len() as u64;
        let invoked = history.moments;
        history.moments += 1;
        writeln!(history.file, "{invoked} {number} asks {asked:?}").unwrap();
        history.operations.push(Operation { number, invoked, ended: None, asked, outcome: None });
        drop(history);
        self.begun.send_modify(|begun| *begun += 1);
        number
    }

    /// Writes down how it ended.
    pub(crate) fn end(&self, number: u64, outcome: Ended<A>) {
        let mut history = self.history.lock().unwrap();
        let moment = history.moments;
        history.moments += 1;
        writeln!(history.file, "{moment} {number} ends {outcome:?}").unwrap();
        let operation = &mut history.operations[usize::try_from(number).unwrap()];
        operation.ended = Some(moment);
        operation.outcome = Some(outcome);
    }

    /// How many calls have begun.
    pub(crate) fn begun(&self) -> u64 {
        *self.begun.borrow()
    }

    /// Waits until so many calls have begun.
    pub(crate) async fn wait_until_begun(&self, count: u64) {
        let mut begun = self.begun.subscribe();
        begun.wait_for(|begun| *begun >= count).await.unwrap();
    }

    /// All of it, from this number on.
    pub(crate) fn since(&self, number: u64) -> Vec<Operation<Q, A>> {
        self.history.lock().unwrap().operations[usize::try_from(number).unwrap()..].to_vec()
    }
}
