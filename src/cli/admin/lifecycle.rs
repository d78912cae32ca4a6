//! What can be done with every kind of subject.

use prost_reflect::Value;

use super::{Change, Failure, Output, Target, call, print, prompt};
use crate::cli::output;

/// A kind of subject, as the API names it.
pub(super) struct Noun {
    /// Its service.
    pub(super) service: &'static str,
    /// `User`.
    pub(super) name: &'static str,
    /// `Users`.
    pub(super) plural: &'static str,
    /// The field of its id.
    pub(super) id: &'static str,
    /// The member of a list's answer.
    pub(super) list: &'static str,
    /// What a list shows to people.
    pub(super) columns: &'static [&'static str],
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Read one
    Get(Get),
    /// List them, a page at a time or all
    List(List),
    /// Delete one, with all its secrets, for good
    Delete(Delete),
    /// Block one until it is unlocked
    Lock(State),
    /// Let one in again, and forget its failed attempts
    Unlock(State),
    /// Put one out of use
    Disable(State),
    /// Put a disabled one back into use
    Enable(State),
}

#[derive(clap::Args, Debug)]
pub(super) struct Get {
    /// Its id
    id: String,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) page: Page,
    #[command(flatten)]
    pub(super) target: Target,
}

#[derive(clap::Args, Debug)]
#[expect(clippy::struct_field_names, reason = "as the API names them, and so the flags")]
pub(super) struct Page {
    /// Which ones: comparisons joined by AND, such as 'state = LOCKED AND labels.team = "blue"'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// By what, with ' desc' for the other way round, such as `update_time desc`
    #[arg(long, value_name = "FIELD")]
    order_by: Option<String>,
    /// How many to a page, at most 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    page_size: u32,
    /// Go on where a page ended
    #[arg(long, value_name = "TOKEN", conflicts_with = "all")]
    page_token: Option<String>,
    /// Every page
    #[arg(long)]
    all: bool,
    /// Count them all as well
    #[arg(long)]
    count: bool,
}

#[derive(clap::Args, Debug)]
pub(super) struct Delete {
    /// Its id
    id: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// It is fine if there is none
    #[arg(long)]
    allow_missing: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Debug)]
pub(super) struct State {
    /// Its id
    id: String,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

impl Noun {
    /// `UserService/GetUser`.
    pub(super) fn method(&self, verb: &str) -> String {
        format!("{}/{verb}{}", self.service, self.name)
    }

    pub(super) async fn run(&self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Get(Get { id, target }) => {
                let (session, request) = target.open().await?;
                target.show(&session, &self.method("Get"), request.set(self.id, id)).await
            }
            Command::List(List { page, target }) => {
                let (session, request) = target.open().await?;
                self.list(&session, request, page, target.service.output).await
            }
            Command::Delete(Delete { id, yes, allow_missing, change, target }) => {
                prompt::confirm(yes, &format!("Delete {id} with all its secrets"))?;
                let (session, request) = target.open().await?;
                let what = format!("{id} is deleted");
                let request = request.set(self.id, id).set("allow_missing", allow_missing).change(&change);
                target.service.done(&session, &self.method("Delete"), request, &what).await
            }
            Command::Lock(state) => self.state("Lock", state).await,
            Command::Unlock(state) => self.state("Unlock", state).await,
            Command::Disable(state) => self.state("Disable", state).await,
            Command::Enable(state) => self.state("Enable", state).await,
        }
    }

    async fn state(&self, verb: &str, State { id, change, target }: State) -> Result<(), Failure> {
        let (session, request) = target.open().await?;
        target.show(&session, &self.method(verb), request.set(self.id, id).change(&change)).await
    }

    /// One page, or one after the other.
    pub(super) async fn list(
        &self,
        session: &super::Session,
        request: super::Request,
        page: Page,
        output: Output,
    ) -> Result<(), Failure> {
        let method = format!("{}/List{}", self.service, self.plural);
        let request = request.maybe("filter", page.filter).maybe("order_by", page.order_by);
        let request = request.set("page_size", page.page_size).set("count_total", page.count);
        let first = request.maybe("page_token", page.page_token);
        let mut fields = first.0;
        let mut answer = call(session, &method, super::Request(fields.clone())).await?;
        let mut items = print::items(&answer, self.list);
        let mut next = print::text(&answer, "next_page_token");
        while page.all && !next.is_empty() {
            fields.insert("page_token".to_owned(), next.into());
            let following = call(session, &method, super::Request(fields.clone())).await?;
            items.extend(print::items(&following, self.list));
            next = print::text(&following, "next_page_token");
        }
        if output == Output::Json {
            answer.set_field_by_name("next_page_token", Value::String(next));
            answer.set_field_by_name(self.list, Value::List(items.into_iter().map(Value::Message).collect()));
            return print::json(&answer);
        }
        print::many(&items, self.columns);
        if page.count
            && let Some(total) = answer.get_field_by_name("total_size").and_then(|total| total.as_i64())
        {
            output::say(&format!("{total} in all"));
        }
        if !next.is_empty() {
            output::say(&format!("there are more: --all, or --page-token {next}"));
        }
        Ok(())
    }
}
