//! Subjects that are asked for at the same time are read as one: a statement for each tenant and kind, begun after
//! everybody in it had asked, so that nobody is told of a state from before.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::attempt::again;
use crate::{
    domain::{Error, Result, Secret, Subject, SubjectKind, SubjectRef, Uid},
    planted::{Bug, is_planted},
    store::Store,
};

/// Questions that may wait; past it, whoever brings one waits too.
const WAITING: usize = 1_024;
/// Questions that are answered by one statement.
const BATCH: usize = 32;
/// Statements under way. What comes meanwhile is gathered for the next.
const AT_ONCE: usize = 2;

/// A subject with its secrets in force.
pub(super) type Found = (Subject, Vec<Secret>);

/// What was read for a name.
pub(super) struct Looked {
    /// Whose it is.
    pub(super) found: Option<Found>,
    /// Somebody else, where it is nobody's: to be opened like what was asked for, and nothing else.
    pub(super) other: Option<Found>,
}

/// The reading of subjects that are to be checked.
#[derive(Clone)]
pub(super) struct Fetch(mpsc::Sender<Question>);

struct Question {
    line: Line,
    name: String,
    answer: oneshot::Sender<Result<Looked>>,
}

/// What one statement can ask for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Line {
    tenant: Uid,
    kind: SubjectKind,
    by_login: bool,
}

impl Fetch {
    pub(super) fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(gather(store, receiver));
        Self(sender)
    }

    /// [`Store::subject_with_secrets`], together with others.
    pub(super) async fn subject_with_secrets(
        &self,
        tenant: &Uid,
        kind: SubjectKind,
        reference: &SubjectRef,
    ) -> Result<Looked> {
        let line = Line { tenant: tenant.clone(), kind, by_login: matches!(reference, SubjectRef::Login(_)) };
        if is_planted(Bug::SubjectInMemory) {
            return self.remembered(line, reference.as_str()).await;
        }
        self.ask(line, reference.as_str()).await
    }

    /// What a planted bug (`crate::planted`) read once.
    async fn remembered(&self, line: Line, name: &str) -> Result<Looked> {
        static READ: LazyLock<Mutex<HashMap<(Line, String), Found>>> = LazyLock::new(Mutex::default);
        let key = (line.clone(), name.to_owned());
        let known = READ.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if known.is_some() {
            return Ok(Looked { found: known, other: None });
        }
        let looked = self.ask(line, name).await?;
        if let Some(found) = &looked.found {
            READ.lock().unwrap_or_else(PoisonError::into_inner).insert(key, found.clone());
        }
        Ok(looked)
    }

    async fn ask(&self, line: Line, name: &str) -> Result<Looked> {
        let (answer, waiting) = oneshot::channel();
        let question = Question { line, name: name.to_owned(), answer };
        // Fails only when the task has ended, with the runtime itself.
        self.0.send(question).await.map_err(|_ended| Error::internal("nobody reads subjects any more"))?;
        waiting.await.map_err(Error::internal)?
    }
}

async fn gather(store: Store, mut questions: mpsc::Receiver<Question>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        if questions.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let (store, batch) = (store.clone(), std::mem::take(&mut batch));
        tokio::spawn(async move {
            answer(&store, batch).await;
            drop(place);
        });
    }
}

async fn answer(store: &Store, questions: Vec<Question>) {
    let mut lines = HashMap::<Line, Vec<Question>>::new();
    for question in questions {
        lines.entry(question.line.clone()).or_default().push(question);
    }
    for (line, questions) in lines {
        let names: BTreeSet<&str> = questions.iter().map(|question| question.name.as_str()).collect();
        match store.subjects_with_secrets(&line.tenant, line.kind, line.by_login, padded(names)).await {
            Ok(found) => {
                for question in questions {
                    let name = Some(question.name.as_str());
                    let is_asked = |(subject, _): &&Found| {
                        name == if line.by_login { subject.login.as_deref() } else { Some(subject.id.as_str()) }
                    };
                    let own = found.iter().find(is_asked).cloned();
                    let other = if own.is_none() { found.first().cloned() } else { None };
                    // Nobody may be there to hear it any more.
                    let _ = question.answer.send(Ok(Looked { found: own, other }));
                }
            }
            Err(error) => {
                tracing::debug!(reason = ?error.reason(), cause = ?error.cause(), "subjects were not read");
                for question in questions {
                    let _ = question.answer.send(Err(again(&error)));
                }
            }
        }
    }
}

/// The names, some of them twice, so that there are few lengths and each statement is prepared once.
fn padded(names: BTreeSet<&str>) -> Vec<&str> {
    let mut names: Vec<&str> = names.into_iter().collect();
    if let Some(last) = names.last().copied() {
        names.resize(names.len().next_power_of_two(), last);
    }
    names
}
