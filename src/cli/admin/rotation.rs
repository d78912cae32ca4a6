//! Rotating the passwords of devices and integrations.

use serde_json::Value;

use super::{Change, Failure, Request, Target, lifecycle::Noun};

/// Where a new password goes.
#[derive(clap::Args, Debug)]
pub(super) struct Place {
    /// How long the old password is good besides the new one, such as 24h or 7d [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "pending")]
    overlap: Option<String>,
    /// Only prepare the new password: it is accepted nowhere until it is promoted
    #[arg(long)]
    pending: bool,
    /// Where two versions live already, drop the pending or previous one instead of refusing
    #[arg(long)]
    drop_oldest: bool,
    /// When the new password ends by itself, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    expire_time: Option<String>,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Bring the pending password into force
    Promote(Promote),
    /// Bring the previous password back into force, and make the current one void
    RollBack(Act),
    /// Have the current and the previous password change places
    Swap(Act),
    /// Make one version of the password void at once
    RevokeSecret(RevokeSecret),
}

#[derive(clap::Args, Debug)]
pub(super) struct Promote {
    /// Its id
    id: String,
    /// How long the old password is good besides, such as 24h or 7d [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    overlap: Option<String>,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Debug)]
pub(super) struct Act {
    /// Its id
    id: String,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

#[derive(clap::Args, Debug)]
pub(super) struct RevokeSecret {
    /// Its id
    id: String,
    /// Which version, as `get` shows them
    #[arg(value_name = "VERSION")]
    version: i64,
    /// Let it be the last that is accepted: nothing verifies until the next reset
    #[arg(long)]
    allow_last: bool,
    /// Check everything and change nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    target: Target,
}

impl Request {
    /// Where a new password goes.
    pub(super) fn place(self, place: Place) -> Self {
        let at_limit = place.drop_oldest.then_some("AT_LIMIT_DROP_OLDEST");
        let request = self.maybe("overlap", place.overlap).maybe("pending", place.pending.then_some(true));
        request.maybe("at_limit", at_limit).maybe("expire_time", place.expire_time)
    }
}

impl Noun {
    /// Runs one of them; `noun` is what stands in the names of its methods: `Promote…Secret`.
    pub(super) async fn rotate(&self, noun: &str, command: Command) -> Result<(), Failure> {
        let (verb, id, fields, validate_only, change, target) = match command {
            Command::Promote(Promote { id, overlap, validate_only, change, target }) => {
                let fields = vec![("overlap", overlap.map(Value::from))];
                (format!("Promote{noun}Secret"), id, fields, validate_only, change, target)
            }
            Command::RollBack(Act { id, validate_only, change, target }) => {
                (format!("RollBack{noun}Secret"), id, Vec::new(), validate_only, change, target)
            }
            Command::Swap(Act { id, validate_only, change, target }) => {
                (format!("Swap{noun}Secrets"), id, Vec::new(), validate_only, change, target)
            }
            Command::RevokeSecret(RevokeSecret { id, version, allow_last, validate_only, change, target }) => {
                let fields = vec![("version", Some(version.into())), ("allow_last", Some(allow_last.into()))];
                (format!("Revoke{noun}Secret"), id, fields, validate_only, change, target)
            }
        };
        let (session, request) = target.open().await?;
        let request = request.set(self.id, id).set("validate_only", validate_only).change(&change);
        let request = fields.into_iter().fold(request, |request, (name, value)| request.maybe(name, value));
        target.show(&session, &format!("{}/{verb}", self.service), request).await
    }
}

/// `90s`, `30m`, `24h` or `7d`, as a Duration in JSON.
pub(super) fn seconds(text: &str) -> Result<String, String> {
    let rule = "must be a number and s, m, h or d, such as 24h";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(rule)?;
    let number: u64 = number.parse().map_err(|_none| rule)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(rule.to_owned()),
    };
    number.checked_mul(unit).map(|seconds| format!("{seconds}s")).ok_or_else(|| rule.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, expected) in [("90s", "90s"), ("30m", "1800s"), ("24h", "86400s"), ("7d", "604800s"), ("0s", "0s")] {
            assert_eq!(seconds(text).as_deref(), Ok(expected));
        }
        for bad in ["", "s", "24", "h", "-1h", "1.5h", "1w", "1é", "99999999999999999999d", "18446744073709551615d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
