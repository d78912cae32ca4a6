//! What is done to many: looked at, confirmed, begun, and watched until it has ended.

use std::time::Duration;

use indicatif::ProgressBar;
use prost_reflect::{DynamicMessage, ReflectMessage as _, Value as Field};
use serde_json::Value;
use uuid::Uuid;

use super::{Exit, Failure, Output, Request, Target, print, prompt};
use crate::cli::{
    bar, output,
    session::{Answers, Session},
};

/// How often in a row a job is watched anew where that told nothing.
const TRIES: u32 = 30;
/// How long to wait before that.
const PAUSE: Duration = Duration::from_secs(2);

/// What every command takes that is about many.
#[derive(clap::Args, Debug)]
pub(super) struct Many {
    /// Which of them: comparisons joined by AND, such as 'labels.site = "north"'; all where absent
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// How many a second at most, up to 1000 [default: 50]
    #[arg(long, value_name = "NUMBER")]
    max_per_second: Option<u32>,
    /// By how many they may be more or fewer than when they were looked at [default: one in a hundred]
    #[arg(long, value_name = "NUMBER")]
    tolerance: Option<u32>,
    /// Only look: how many there are, and the first of them
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

/// What is done.
pub(super) struct Deed {
    /// The method.
    pub(super) method: &'static str,
    /// Such as `Give new passwords to`.
    pub(super) verb: String,
    /// Such as `devices`.
    pub(super) nouns: &'static str,
}

impl Many {
    /// Looks, asks, begins and watches. `with` adds what only this deed has.
    pub(super) async fn run(self, deed: Deed, with: impl FnOnce(Request) -> Request) -> Result<(), Failure> {
        let Deed { method, verb, nouns } = deed;
        let (session, request) = self.target.open().await?;
        let output = self.target.service.output;
        let request = request.maybe("filter", self.filter).maybe("max_per_second", self.max_per_second);
        let Request(fields) = with(request.maybe("tolerance", self.tolerance));
        let mut look = fields.clone();
        look.insert("validate_only".to_owned(), true.into());
        let mut answers = session.stream(method, Value::Object(look)).await?;
        let answer = answers.next().await?;
        let plan = answer.as_ref().and_then(|answer| member(answer, "plan"));
        let plan = plan.ok_or_else(|| Failure::new(Exit::Failed, "the service did not say how many there are"))?;
        let total = number(&plan, "total");
        if self.dry_run && output == Output::Json {
            return print::json_line(&plan);
        }
        output::say(&format!("{total} {nouns} fit{}", such_as(&plan)));
        if self.dry_run || total == 0 {
            return Ok(());
        }
        prompt::confirm(self.yes, &format!("{verb} {total} {nouns}"))?;

        // One for this confirmation; should the stream break off, the job is found by its own id.
        let request = Request(fields).set("confirmation", print::text(&plan, "confirmation"));
        let request = request.set("request_id", Uuid::new_v4().to_string());
        let answers = session.stream(method, Value::Object(request.0)).await?;
        watch(&session, answers, output).await
    }
}

/// Shows how a job goes on until it has ended, however often the stream breaks off. Ends with a failure unless all that it
/// was about are done or were passed over.
pub(super) async fn watch(session: &Session, mut answers: Answers, output: Output) -> Result<(), Failure> {
    let progress = Progress::default();
    let mut last = None::<DynamicMessage>;
    let mut silent = 0;
    loop {
        let broke_off = match answers.next().await {
            Ok(Some(answer)) => {
                let Some(job) = member(&answer, "job") else { continue };
                silent = 0;
                if output == Output::Json {
                    print::json_line(&job)?;
                } else {
                    progress.show(&job);
                }
                last = Some(job);
                continue;
            }
            Ok(None) => None,
            Err(failure) => Some(failure),
        };
        let Some(job) = &last else {
            return Err(broke_off.unwrap_or_else(|| Failure::new(Exit::Failed, "the service told nothing")));
        };
        if print::column(job, "state") != "RUNNING" {
            progress.bar.finish_and_clear();
            return ended(job, output);
        }
        silent += 1;
        let id = print::text(job, "job_id");
        if silent > TRIES {
            let why = broke_off.map(|failure| format!(" ({failure})")).unwrap_or_default();
            let sentence = format!("the service tells nothing any more{why}; the job goes on: rekey job watch {id}");
            return Err(Failure::new(Exit::Failed, sentence));
        }
        if silent > 1 || broke_off.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
        let request = Request::new().set("tenant_id", print::text(job, "tenant_id")).set("job_id", id);
        if let Ok(again) = session.stream("JobService/WatchJob", Value::Object(request.0)).await {
            answers = again;
        }
    }
}

/// What came of a job, in a sentence.
fn ended(job: &DynamicMessage, output: Output) -> Result<(), Failure> {
    let [total, done, skipped, failed] = ["total", "done", "skipped", "failed"].map(|name| number(job, name));
    let state = print::column(job, "state");
    let mut sentence = format!("{}: {done} of {total} done, {skipped} skipped, {failed} failed", state.to_lowercase());
    let reasons = print::column(job, "reasons");
    if !reasons.is_empty() {
        sentence = format!("{sentence} ({reasons})");
    }
    let reason = print::text(job, "reason");
    if !reason.is_empty() {
        sentence = format!("{sentence}: {reason}");
    }
    if state != "DONE" || failed > 0 {
        return Err(Failure::new(Exit::Failed, sentence));
    }
    if output == Output::Table {
        output::line(&sentence);
    }
    Ok(())
}

/// The first of those that fit.
fn such_as(plan: &DynamicMessage) -> String {
    let ids = plan.get_field_by_name("sample_ids");
    let ids = ids.as_deref().and_then(Field::as_list).unwrap_or_default();
    let ids: Vec<_> = ids.iter().filter_map(Field::as_str).collect();
    if ids.is_empty() { String::new() } else { format!(", such as {}", ids.join(", ")) }
}

fn member(answer: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let field = answer.descriptor().get_field_by_name(name)?;
    answer.has_field(&field).then(|| answer.get_field(&field).as_message().cloned()).flatten()
}

fn number(message: &DynamicMessage, name: &str) -> u64 {
    let value = message.get_field_by_name(name).and_then(|value| value.as_i64());
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default()
}

/// How far a job is.
struct Progress {
    bar: ProgressBar,
}

impl Default for Progress {
    fn default() -> Self {
        Self { bar: bar::bar("{wide_bar} {pos} of {len}, {per_sec}, {elapsed} so far, {eta} to go", "") }
    }
}

impl Progress {
    fn show(&self, job: &DynamicMessage) {
        let at = ["done", "skipped", "failed"].map(|name| number(job, name)).iter().sum();
        if self.bar.length() == Some(0) {
            // What was done before somebody watched says nothing of the rate.
            self.bar.set_length(number(job, "total"));
            self.bar.reset_eta();
        }
        self.bar.set_position(at);
    }
}
