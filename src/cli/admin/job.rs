//! `rekey job`.

use super::{
    Change, Failure, Target, call,
    many::watch,
    print::{self, Output},
};
use crate::cli::{output, profile};

const COLUMNS: &[&str] =
    &["job_id", "kind", "state", "total", "done", "skipped", "failed", "reason", "filter", "create_time"];

const EXAMPLES: &str = "\
Examples:
  rekey device reset-many --filter 'labels.site = \"north\"'    begin one, and see it through
  rekey job list --filter 'state = RUNNING'
  rekey job watch 019a5c3e7f01d20c4b7a91e3                     see it through from elsewhere
  rekey job cancel 019a5c3e7f01d20c4b7a91e3
";

/// Jobs: what is done to many, one after the other
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{}", profile::HELP))]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(List),
    Get(Get),
    Watch(Get),
    Cancel(Cancel),
}

/// List them, the latest first
#[derive(clap::Args, Debug)]
struct List {
    /// In which state: 'state = RUNNING', or DONE, CANCELLED, FAILED
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// How many to a page, at most 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    page_size: u32,
    /// Go on where a page ended
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Read one, or see it through
#[derive(clap::Args, Debug)]
struct Get {
    /// Its id
    id: String,
    #[command(flatten)]
    target: Target,
}

/// Stop one; who was changed stays so
#[derive(clap::Args, Debug)]
struct Cancel {
    /// Its id
    id: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(List { filter, page_size, page_token, target }) => {
            let (session, request) = target.open().await?;
            let request = request.maybe("filter", filter).maybe("page_token", page_token).set("page_size", page_size);
            let answer = call(&session, "JobService/ListJobs", request).await?;
            if target.service.output == Output::Json {
                return print::json(&answer);
            }
            print::many(&print::items(&answer, "jobs"), COLUMNS);
            let next = print::text(&answer, "next_page_token");
            if !next.is_empty() {
                output::say(&format!("there are more: --page-token {next}"));
            }
            Ok(())
        }
        Command::Get(Get { id, target }) => {
            let (session, request) = target.open().await?;
            target.show(&session, "JobService/GetJob", request.set("job_id", id)).await
        }
        Command::Watch(Get { id, target }) => {
            let (session, request) = target.open().await?;
            let request = request.set("job_id", id);
            let answers = session.stream("JobService/WatchJob", serde_json::Value::Object(request.0)).await?;
            watch(&session, answers, target.service.output).await
        }
        Command::Cancel(Cancel { id, change, target }) => {
            let (session, request) = target.open().await?;
            let what = format!("{id} changes nobody any more");
            let request = request.set("job_id", id).change(&change);
            target.service.done(&session, "JobService/CancelJob", request, &what).await
        }
    }
}
