//! `KeyService`.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::{
    answer::{answer, answer_stream, timestamp},
    error,
    validate::Fields,
};
use crate::{
    domain::{Error, KeyInfo, KeyPurpose, KeyUse, Replica, Result, tenant::JwtAlgorithm},
    ops::{
        Call, Ops,
        keys::{KeyView, Phase, Progress, RotationOptions},
    },
    proto::{
        self, DataKeyCensus, KeyReplica, KeyRotationPart, KeyRotationPhase, KeyState, KeyringKey, ListKeysRequest,
        ListKeysResponse, RotateKeysRequest, RotateKeysResponse, TokenAlgorithm, key_service_server::KeyService,
    },
};

/// Rows in one transaction, where the request does not say.
const BATCH: u32 = 100;
/// The most of them.
const MAX_BATCH: u32 = 1_000;
/// How long others are given to forget older data keys, where the request does not say.
const SETTLE: Duration = Duration::from_mins(1);
/// The longest.
const MAX_SETTLE: Duration = Duration::from_mins(10);

pub(super) struct KeyApi {
    ops: Ops,
}

impl KeyApi {
    pub(super) fn new(ops: &Ops) -> Self {
        Self { ops: ops.clone() }
    }
}

#[tonic::async_trait]
impl KeyService for KeyApi {
    type RotateKeysStream = Pin<Box<dyn Stream<Item = Result<RotateKeysResponse, Status>> + Send>>;

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        answer(request, async |call, ListKeysRequest {}| Ok(encode(self.ops.list_keys(call).await?))).await
    }

    /// Works in a task of its own: what limits the time of a call limits only its beginning. It ends when nobody hears of
    /// its progress any more.
    async fn rotate_keys(
        &self,
        request: Request<RotateKeysRequest>,
    ) -> Result<Response<Self::RotateKeysStream>, Status> {
        let call = request.extensions().get::<Arc<Call>>().cloned();
        answer_stream(request, async |let_in, request| {
            let rotation = self.ops.begin_rotation(let_in, decode(&request)?).await?;
            let (progress, heard) = mpsc::channel(1);
            let (ops, call) = (self.ops.clone(), call.ok_or_else(|| Error::internal("a call that passed no gate"))?);
            let request_id = call.request_id.clone();
            let work = async move {
                if let Err(failed) = ops.rotate(&call, &rotation, &progress).await {
                    let _ = progress.send(Err(failed)).await;
                }
            };
            tokio::spawn(work.in_current_span());
            let told = ReceiverStream::new(heard)
                .map(move |told| told.map(encode_progress).map_err(|failed| error::status(&failed, &request_id)));
            Ok(Box::pin(told) as Self::RotateKeysStream)
        })
        .await
    }
}

fn decode(request: &RotateKeysRequest) -> Result<RotationOptions> {
    let mut fields = Fields::default();
    let mut parts = Vec::new();
    for (place, part) in request.parts.iter().enumerate() {
        match KeyRotationPart::try_from(*part) {
            Ok(KeyRotationPart::Unspecified) | Err(_) => {
                fields.refuse::<()>(format!("parts[{place}]"), "must be a KeyRotationPart");
            }
            Ok(part) => parts.push(part),
        }
    }
    let batch = match u32::try_from(request.batch_size) {
        Ok(0) => Some(BATCH),
        Ok(size @ 1..=MAX_BATCH) => Some(size),
        Ok(_) | Err(_) => fields.refuse("batch_size", "must be from 1 to 1000, or 0 for 100"),
    };
    let rate = match u32::try_from(request.max_per_second) {
        Ok(rate) => Some((rate > 0).then_some(rate)),
        Err(_) => fields.refuse("max_per_second", "must not be negative"),
    };
    let settle = match request.settle_time {
        None => Some(SETTLE),
        Some(time) => Duration::try_from(time)
            .ok()
            .filter(|time| *time <= MAX_SETTLE)
            .or_else(|| fields.refuse("settle_time", "must be from 0 to 10 minutes")),
    };
    let (Some(batch), Some(per_second), Some(settle), true) = (batch, rate, settle, parts.len() == request.parts.len())
    else {
        return Err(fields.error());
    };
    let asks = |part| parts.is_empty() || parts.contains(&part);
    let (wraps, renews) = (asks(KeyRotationPart::Wrapping), asks(KeyRotationPart::DataKeys));
    Ok(RotationOptions { wraps, renews, batch, per_second, settle })
}

fn encode(view: KeyView) -> ListKeysResponse {
    let KeyView { keys, missing, replicas, census } = view;
    let known = |id: &str| {
        let knowing = replicas.iter().filter(|replica| replica.knows(id)).count();
        i32::try_from(knowing).unwrap_or(i32::MAX)
    };
    let of_keyring = keys.into_iter().map(|(key, uses)| {
        let KeyInfo { id, purpose, algorithm, is_primary, create_time, accept_until } = key;
        KeyringKey {
            known_by: known(&id),
            key_id: id,
            purpose: encode_purpose(purpose).into(),
            algorithm: algorithm.map_or(TokenAlgorithm::Unspecified, encode_algorithm).into(),
            state: if is_primary { KeyState::Primary } else { KeyState::Active }.into(),
            create_time: Some(timestamp(create_time)),
            accept_until_time: accept_until.map(timestamp),
            ..used(&uses)
        }
    });
    let missing = missing.into_iter().map(|(id, uses)| {
        let purpose = if uses.data_keys > 0 { proto::KeyPurpose::Wrapping } else { proto::KeyPurpose::Digest };
        KeyringKey {
            known_by: known(&id),
            key_id: id,
            purpose: purpose.into(),
            state: KeyState::Missing.into(),
            ..used(&uses)
        }
    });
    let keys = of_keyring.chain(missing).collect();
    let data_keys = DataKeyCensus {
        sealing: count(census.data_keys),
        older: count(census.older_data_keys),
        older_secrets: count(census.older_secrets),
        older_replies: count(census.older_replies),
    };
    let replica = |replica: Replica| KeyReplica {
        name: replica.name,
        version: replica.version,
        key_ids: replica.knows,
        primary_key_ids: replica.makes_with,
        seen_time: Some(timestamp(replica.seen_time)),
    };
    ListKeysResponse { keys, replicas: replicas.into_iter().map(replica).collect(), data_keys: Some(data_keys) }
}

fn used(uses: &KeyUse) -> KeyringKey {
    KeyringKey {
        data_keys: count(uses.data_keys),
        secrets: count(uses.secrets),
        replies: count(uses.replies),
        tokens: count(uses.tokens),
        primary_time: uses.primary_time.map(timestamp),
        ..KeyringKey::default()
    }
}

fn encode_progress(progress: Progress) -> RotateKeysResponse {
    let phase = match progress.phase {
        Phase::Wrapping => KeyRotationPhase::Wrapping,
        Phase::DataKeys => KeyRotationPhase::DataKeys,
        Phase::Secrets => KeyRotationPhase::Secrets,
        Phase::Replies => KeyRotationPhase::Replies,
        Phase::Settling => KeyRotationPhase::Settling,
        Phase::Done => KeyRotationPhase::Done,
    };
    RotateKeysResponse {
        rotation: progress.rotation,
        phase: phase.into(),
        done: count(progress.done),
        total: count(progress.total),
        remaining: count(progress.remaining),
        unreadable: count(progress.unreadable),
        rate_per_second: progress.per_second,
    }
}

const fn encode_purpose(purpose: KeyPurpose) -> proto::KeyPurpose {
    match purpose {
        KeyPurpose::Wrapping => proto::KeyPurpose::Wrapping,
        KeyPurpose::Digest => proto::KeyPurpose::Digest,
        KeyPurpose::PageToken => proto::KeyPurpose::PageToken,
        KeyPurpose::TokenSigning => proto::KeyPurpose::TokenSigning,
    }
}

const fn encode_algorithm(algorithm: JwtAlgorithm) -> TokenAlgorithm {
    match algorithm {
        JwtAlgorithm::RS256 => TokenAlgorithm::Rs256,
        JwtAlgorithm::ES256 => TokenAlgorithm::Es256,
        JwtAlgorithm::EdDSA => TokenAlgorithm::Eddsa,
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
