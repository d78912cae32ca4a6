//! `rekey audit`.

use super::{Failure, Target, call};
use crate::cli::{
    output,
    print::{self, Output},
    profile,
};

const EXAMPLES: &str = "\
Examples:
  rekey audit list --filter 'target_id = \"jane\"'
  rekey audit list --filter 'outcome = \"denied\" AND time >= \"2026-11-01T00:00:00Z\"' --all --output json
";

/// Audit: who did what to whom, when, and with what result
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n{}", profile::HELP))]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    List(List),
}

/// List a tenant's records, the oldest first
#[derive(clap::Args, Debug)]
struct List {
    /// Which ones: comparisons joined by AND, of `action`, `outcome`, `target_kind`, `target_id` and
    /// `time`
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// How many to a page, at most 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    page_size: u32,
    /// Go on where a page ended
    #[arg(long, value_name = "TOKEN", conflicts_with = "all")]
    page_token: Option<String>,
    /// Every page
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: Target,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Command::List(List { filter, page_size, page_token, all, target }) = arguments.command;
    let (session, request) = target.open().await?;
    let request = request.maybe("filter", filter).set("page_size", page_size);
    let mut fields = request.maybe("page_token", page_token).0;
    loop {
        let answer = call(&session, "AuditService/ListAuditRecords", super::Request(fields.clone())).await?;
        let next = print::text(&answer, "next_page_token");
        let more = print::flag(&answer, "more");
        if target.service.output == Output::Json {
            print::json(&answer)?;
        } else {
            let columns = ["time", "actor", "action", "target_kind", "target_id", "outcome", "reason", "detail"];
            print::many(&print::items(&answer, "records"), &columns);
        }
        if !(all && more) {
            if more {
                output::say(&format!("there are more: --all, or --page-token {next}"));
            }
            return Ok(());
        }
        fields.insert("page_token".to_owned(), next.into());
    }
}
