//! `UserService.ImportUsers` and the census.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;
use zeroize::Zeroizing;

use super::{
    answer::{answer, answer_stream},
    error,
    user::MAX_USERNAME,
    validate::Fields,
};
use crate::{
    domain::{Error, Result},
    ops::{
        Call, Ops,
        import::{DuplicatePolicy, Import, ImportOptions, ImportReport, ImportUser},
    },
    proto::{
        self, GetPasswordCensusRequest, GetPasswordCensusResponse, ImportFailure, ImportUsersRequest,
        ImportUsersResponse, PasswordScheme, import_users_request::Content,
    },
};

/// The most users of a batch.
const MAX_BATCH: usize = 1_000;
/// Answers that may wait for a client to read them.
const WAITING: usize = 4;

pub(super) type Answers = ReceiverStream<Result<ImportUsersResponse, Status>>;

/// Reads the options, and answers batches as long as they come. Batches are worked on in a task of their own: what limits
/// the time of a call limits only its beginning.
pub(super) async fn import_users(
    ops: &Ops,
    request: Request<Streaming<ImportUsersRequest>>,
) -> Result<Response<Answers>, Status> {
    let call = request.extensions().get::<Arc<Call>>().cloned();
    answer_stream(request, async |let_in, mut messages| {
        let content = next(&mut messages).await?;
        let Some(Content::Options(options)) = content else {
            return Err(Fields::of("options", "must be the first message"));
        };
        let import = ops.begin_import(let_in, decode(&options)?).await?;
        let (answers, receiver) = mpsc::channel(WAITING);
        let (ops, call) = (ops.clone(), call.ok_or_else(|| Error::internal("a call that passed no gate"))?);
        tokio::spawn(
            async move {
                if let Err(failed) = work(&ops, &call, &import, messages, &answers).await {
                    let _ = answers.send(Err(error::status(&failed, &call.request_id))).await;
                }
            }
            .in_current_span(),
        );
        Ok(ReceiverStream::new(receiver))
    })
    .await
}

pub(super) async fn census(
    ops: &Ops,
    request: Request<GetPasswordCensusRequest>,
) -> Result<Response<GetPasswordCensusResponse>, Status> {
    answer(request, async |call, request| {
        let mut fields = Fields::default();
        let Some(tenant) = fields.tenant(&request.tenant_id) else { return Err(fields.error()) };
        let census = ops.password_census(call, &tenant).await?;
        let scheme =
            |(scheme, count): (Option<String>, i64)| PasswordScheme { scheme: scheme.unwrap_or_default(), count };
        Ok(GetPasswordCensusResponse { schemes: census.into_iter().map(scheme).collect() })
    })
    .await
}

async fn work(
    ops: &Ops,
    call: &Call,
    import: &Import,
    mut messages: Streaming<ImportUsersRequest>,
    answers: &mpsc::Sender<Result<ImportUsersResponse, Status>>,
) -> Result<()> {
    let mut first = 0;
    while let Some(content) = next(&mut messages).await? {
        let Content::Batch(batch) = content else {
            return Err(Fields::of("batch", "must be in every message but the first"));
        };
        if batch.users.len() > MAX_BATCH {
            return Err(Fields::of("batch.users", "must be at most 1000"));
        }
        let count = batch.users.len() as u64;
        let (mut users, mut failures) = (Vec::with_capacity(batch.users.len()), Vec::new());
        for (index, user) in (first..).zip(batch.users) {
            match decode_user(index, user) {
                Ok(user) => users.push(user),
                Err(error) => failures.push((index, error)),
            }
        }
        first += count;
        let mut report = ops.import_users(call, import, users).await?;
        report.failures.extend(failures);
        report.failures.sort_by_key(|(index, _)| *index);
        if answers.send(Ok(encode(&report))).await.is_err() {
            // Nobody is there to hear of more.
            return Ok(());
        }
    }
    Ok(())
}

/// The next message; `None` at the end. A stream that breaks off ends in an error of the client's own.
async fn next(messages: &mut Streaming<ImportUsersRequest>) -> Result<Option<Content>> {
    match messages.message().await {
        Ok(None) => Ok(None),
        Ok(Some(message)) => message.content.map(Some).ok_or_else(|| Fields::of("content", "must be given")),
        Err(_broken) => Err(Fields::of("content", "cannot be read, or is larger than 256 KiB")),
    }
}

fn decode(options: &proto::ImportOptions) -> Result<ImportOptions> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(&options.tenant_id);
    let duplicates = match proto::DuplicatePolicy::try_from(options.duplicate_policy) {
        Ok(proto::DuplicatePolicy::Unspecified | proto::DuplicatePolicy::Skip) => Some(DuplicatePolicy::Skip),
        Ok(proto::DuplicatePolicy::Replace) => Some(DuplicatePolicy::Replace),
        Ok(proto::DuplicatePolicy::Fail) => Some(DuplicatePolicy::Fail),
        Err(_) => fields.refuse("duplicate_policy", "must be a DuplicatePolicy"),
    };
    let (Some(tenant), Some(duplicates)) = (tenant, duplicates) else { return Err(fields.error()) };
    Ok(ImportOptions { tenant, duplicates, dry_run: options.dry_run, wrap: options.wrap })
}

fn decode_user(index: u64, user: proto::ImportUser) -> Result<ImportUser> {
    let hash = Zeroizing::new(user.password_hash);
    let mut fields = Fields::default();
    let id = fields.new_id("user_id", &user.user_id);
    let username = fields.text("username", user.username, MAX_USERNAME);
    let state = fields.state(user.state);
    let (Some(id), Some(username), Some(state)) = (id, username, state) else { return Err(fields.error()) };
    Ok(ImportUser { index, id, username, state, hash: (!hash.is_empty()).then_some(hash) })
}

fn encode(report: &ImportReport) -> ImportUsersResponse {
    let failure = |(index, error): &(u64, Error)| {
        let violations = error.violations().iter().map(|rule| format!("{}: {}", rule.field, rule.description));
        let violations = violations.collect::<Vec<_>>().join("; ");
        let message = if violations.is_empty() { error.message().to_owned() } else { violations };
        ImportFailure { index: *index, reason: error::row(error.reason()).1.to_owned(), message }
    };
    ImportUsersResponse {
        created: report.created,
        replaced: report.replaced,
        skipped: report.skipped,
        failures: report.failures.iter().map(failure).collect(),
    }
}
