//! `rekey import`: users out of a file, into a service.

mod read;
mod shape;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::ValueEnum;
use indicatif::ProgressBar;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use self::{
    read::{Item, Source},
    shape::Firebase,
};
use super::{
    bar,
    failure::{Exit, Failure},
    output,
    session::{Connection, refused},
    stop::Stop,
};
use crate::proto::{
    DuplicatePolicy, ImportBatch, ImportOptions, ImportUser, ImportUsersRequest, import_users_request::Content,
    user_service_client::UserServiceClient,
};

/// Users of a batch, and bytes of it; the service takes up to 1,000 and 256 KiB.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 200 * 1024;
/// What wraps takes as long as it takes to set passwords: shorter batches show that something happens.
const WRAPPED_BATCH: usize = 50;
/// Problems that are told one by one.
const MAX_TOLD: u64 = 1_000;

const HELP: &str = "\
Examples:
  rekey import users.jsonl --tenant acme --token-file token
  rekey import realm-export.json --tenant acme --dry-run
  rekey import firebase.json --tenant acme --firebase-config hash-config.txt --wrap

Own columns, as CSV with a header or as JSON Lines:
  user_id        the id; made where empty or absent
  username       what the user signs in with
  state          active (where empty), disabled or locked
  password_hash  as the other system kept it; none where empty

Users who are there already are skipped unless --on-duplicate says otherwise, so an import that broke off can be done
again; --from begins at a later line (or element, in JSON). Problems go to standard error, the summary to standard output.
Ends with 0 where every user was taken over or skipped, with 1 where one was not.";

/// Take over users from another system, with their password hashes
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The users; - for standard input
    file: PathBuf,
    /// Into which tenant: its id, an alias with its dialect, or - for the caller's own
    #[arg(long, value_name = "TENANT", allow_hyphen_values = true)]
    tenant: String,
    #[command(flatten)]
    connection: Connection,
    /// What the file holds; what it looks like where auto
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// What to do with users who are there already
    #[arg(long, value_enum, default_value = "skip")]
    on_duplicate: OnDuplicate,
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Keep Argon2id over the old hashes, so that no weaker one rests in the database; slow
    #[arg(long)]
    wrap: bool,
    /// Begin at this line, or element of a JSON document, counted from 1
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// Firebase's password hash parameters, as its console shows them
    #[arg(long, value_name = "FILE")]
    firebase_config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Auto,
    Jsonl,
    Csv,
    Keycloak,
    Kratos,
    Firebase,
    Auth0,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnDuplicate {
    Skip,
    Replace,
    Fail,
}

impl From<OnDuplicate> for DuplicatePolicy {
    fn from(policy: OnDuplicate) -> Self {
        match policy {
            OnDuplicate::Skip => Self::Skip,
            OnDuplicate::Replace => Self::Replace,
            OnDuplicate::Fail => Self::Fail,
        }
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let firebase = arguments.firebase_config.as_deref().map(Firebase::load).transpose()?;
    let source = Source::open(&arguments.file, arguments.format, firebase)?;
    let session = arguments.connection.open().await?;
    let mut stop = Stop::listen()?;
    let progress = Progress::new(source.length());

    let (items, receiver) = mpsc::channel(2 * BATCH);
    let from = arguments.from;
    let bytes = progress.bytes();
    let reader = tokio::task::spawn_blocking(move || source.read(from, &items, &bytes));

    let options = Content::Options(ImportOptions {
        tenant_id: arguments.tenant,
        duplicate_policy: DuplicatePolicy::from(arguments.on_duplicate).into(),
        dry_run: arguments.dry_run,
        wrap: arguments.wrap,
    });
    let (messages, outgoing) = mpsc::channel(4);
    let (sent, lines) = mpsc::unbounded_channel();
    let most = if arguments.wrap { WRAPPED_BATCH } else { BATCH };
    let batches = tokio::spawn(send(options, receiver, messages, sent, most));

    let mut tally = Tally { progress, dry_run: arguments.dry_run, ..Tally::default() };
    let stream = session.request(ReceiverStream::new(outgoing));
    let import = async {
        let answers = UserServiceClient::new(session.channel.clone()).import_users(stream).await;
        tally.gather(answers.map_err(|status| refused(&status))?.into_inner(), lines).await
    };
    let outcome = tokio::select! {
        outcome = import => outcome,
        () = stop.asked() => Err(Failure::new(Exit::Failed, "interrupted")),
    };
    tally.progress.bar.finish_and_clear();
    drop(batches);
    outcome.map_err(|failure| tally.broke_off(&failure))?;
    match reader.await {
        Ok(Ok(())) => {}
        Ok(Err(sentence)) => return Err(tally.broke_off(&Failure::new(Exit::Failed, sentence))),
        Err(_panic) => return Err(Failure::new(Exit::Failed, "the file could not be read to its end")),
    }
    output::line(&tally.summary());
    if tally.failed > 0 {
        let users = if tally.failed == 1 { "1 user was".to_owned() } else { format!("{} users were", tally.failed) };
        return Err(Failure::new(Exit::Failed, format!("{users} not taken over")));
    }
    Ok(())
}

/// What was sent or refused here, in the order of the file.
enum Sent {
    Batch(Vec<u64>),
    Unreadable(u64, String),
}

/// Packs users into batches. Ends when the file does, or when nobody takes them any more.
async fn send(
    options: Content,
    mut items: mpsc::Receiver<Item>,
    messages: mpsc::Sender<ImportUsersRequest>,
    sent: mpsc::UnboundedSender<Sent>,
    most: usize,
) {
    let message = |content| ImportUsersRequest { content: Some(content) };
    if messages.send(message(options)).await.is_err() {
        return;
    }
    let (mut users, mut lines, mut bytes): (Vec<ImportUser>, Vec<u64>, usize) = (Vec::new(), Vec::new(), 0);
    loop {
        let item = items.recv().await;
        let ends = item.is_none();
        let next = item.and_then(|Item { line, user }| match user {
            Ok(user) => Some((line, user)),
            Err(sentence) => {
                let _ = sent.send(Sent::Unreadable(line, sentence));
                None
            }
        });
        let size = next.as_ref().map_or(0, |(_, user)| user.encoded_len() + 8);
        if !users.is_empty() && (ends || users.len() == most || bytes + size > BATCH_BYTES) {
            let batch = ImportBatch { users: std::mem::take(&mut users) };
            let _ = sent.send(Sent::Batch(std::mem::take(&mut lines)));
            bytes = 0;
            if messages.send(message(Content::Batch(batch))).await.is_err() {
                return;
            }
        }
        if ends {
            return;
        }
        if let Some((line, user)) = next {
            users.push(user);
            lines.push(line);
            bytes += size;
        }
    }
}

/// What came of it so far.
#[derive(Default)]
struct Tally {
    created: u64,
    replaced: u64,
    skipped: u64,
    failed: u64,
    /// Users that were answered for.
    done: u64,
    /// The last line that was answered for.
    line: u64,
    /// Whether nothing is changed.
    dry_run: bool,
    progress: Progress,
}

impl Tally {
    async fn gather(
        &mut self,
        mut answers: tonic::Streaming<crate::proto::ImportUsersResponse>,
        mut sent: mpsc::UnboundedReceiver<Sent>,
    ) -> Result<(), Failure> {
        while let Some(next) = sent.recv().await {
            let lines = match next {
                Sent::Unreadable(line, sentence) => {
                    self.tell(line, &sentence);
                    continue;
                }
                Sent::Batch(lines) => lines,
            };
            let Some(answer) = answers.next().await else {
                return Err(Failure::new(Exit::Failed, "the service ended the import"));
            };
            let answer = answer.map_err(|status| refused(&status))?;
            self.created += u64::from(answer.created);
            self.replaced += u64::from(answer.replaced);
            self.skipped += u64::from(answer.skipped);
            for failure in answer.failures {
                let place = usize::try_from(failure.index.saturating_sub(self.done)).unwrap_or(usize::MAX);
                let line = lines.get(place).copied().unwrap_or_default();
                self.tell(line, &format!("{}: {}", failure.reason, failure.message));
            }
            self.done += lines.len() as u64;
            self.line = lines.last().copied().unwrap_or(self.line);
            self.progress.show(self.done);
        }
        Ok(())
    }

    fn tell(&mut self, line: u64, sentence: &str) {
        self.failed += 1;
        if self.failed <= MAX_TOLD {
            self.progress.bar.suspend(|| output::say(&format!("{line}: {sentence}")));
        } else if self.failed == MAX_TOLD + 1 {
            self.progress.bar.suspend(|| output::say("… and more, which are only counted"));
        }
    }

    fn broke_off(&self, failure: &Failure) -> Failure {
        if self.line == 0 {
            return Failure::new(failure.exit, failure.to_string());
        }
        let next = self.line + 1;
        let sentence = format!("{failure}; {}; go on with --from {next}", self.summary());
        Failure::new(failure.exit, sentence)
    }

    fn summary(&self) -> String {
        let Self { created, replaced, skipped, failed, .. } = self;
        let would = if self.dry_run { "would be " } else { "" };
        format!("{created} {would}created, {replaced} {would}replaced, {skipped} skipped, {failed} failed")
    }
}

/// A bar on a terminal; nothing elsewhere.
struct Progress {
    bar: ProgressBar,
    bytes: Arc<AtomicU64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { bar: ProgressBar::hidden(), bytes: Arc::default() }
    }
}

impl Progress {
    fn new(length: Option<u64>) -> Self {
        let whole = "{wide_bar} {percent}% {msg}, {elapsed} so far, {eta} to go";
        let bar = bar::bar(if length.is_some() { whole } else { "{msg}, {elapsed} so far" }, "0 users");
        bar.set_length(length.unwrap_or_default());
        Self { bar, bytes: Arc::default() }
    }

    fn bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }

    fn show(&self, users: u64) {
        self.bar.set_position(self.bytes.load(Ordering::Relaxed));
        let elapsed = self.bar.elapsed().as_millis().max(1);
        let rate = u128::from(users) * 1_000 / elapsed;
        self.bar.set_message(format!("{users} users, {rate} a second"));
    }
}
