//! Every mutation there is, from the descriptors, given up wherever that can be: the future of its handler is polled so
//! many times and dropped. Asked for again under its request id, it was done, or is done now: once, and whole.

use std::{
    env,
    future::poll_fn,
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    pin::pin,
    process::Command,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::Value;
use rekey::{
    access::{Access, Caller, Proof, ProofKind},
    api,
    crypto::{Hasher, Keyring, KeyringInUse, SystemEntropy},
    domain::{Clock, Permission, ResourceId, TenantLimits, Uid},
    ops::{Call, Ops},
    proto::BytesCodec,
    store::Store,
};
use tonic::{Request, Status, service::Routes};

use super::{
    database::Raw,
    repeat_all::{request, with_field},
    world::eventually,
};
use crate::{
    common::rekey::Rekey,
    dynamic::{Method, furnish},
};

/// Places at which each mutation is given up: this many at random, or all of them where `REKEY_CHAOS_ROUNDS` is as high.
const QUICK: u64 = 3;
/// Polls after which nothing is left to be given up.
const MOST: u64 = 200;
/// Polls that a call usually takes.
const USUAL: u64 = 12;

/// The same numbers for the same seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// The handlers without the network, so that a poll of the call is a poll of its handler.
struct Handlers {
    ops: Arc<Ops>,
    routes: Routes,
}

impl Handlers {
    async fn of(rekey: &Rekey) -> Self {
        let store = Store::connect(&rekey.options.store).await.unwrap();
        let keyring = KeyringInUse::new(Keyring::load(&rekey.options.keyring_file).unwrap());
        let hasher = Hasher::start(rekey.options.hasher, Arc::new(SystemEntropy)).unwrap();
        let clock = Arc::clone(&rekey.clock) as Arc<dyn Clock>;
        let ops = Ops::new(store, keyring, hasher, clock, Arc::new(SystemEntropy), &rekey.options.limits);
        let routes = api::routes(&ops, false).unwrap();
        Self { ops: Arc::new(ops), routes }
    }

    /// Calls a method as an administrator, under this name for the record.
    async fn call(&self, system: &Uid, method: &Method, name: String, message: Bytes) -> Result<Bytes, Status> {
        let action = method.path.trim_start_matches("/rekey.v1.").to_owned().leak();
        let grant = administrator(system).authorise(Access::AnyCaller).unwrap();
        let mut request = Request::new(message);
        request.extensions_mut().insert(Arc::new(Call::new(grant, action, name)));
        request.extensions_mut().insert(Arc::clone(&self.ops));
        let path = method.path.parse().unwrap();
        let mut client = tonic::client::Grpc::new(self.routes.clone());
        client.ready().await.unwrap();
        client.unary(request, path, BytesCodec).await.map(tonic::Response::into_inner)
    }
}

fn administrator(system: &Uid) -> Arc<Caller> {
    Arc::new(Caller {
        tenant_uid: system.clone(),
        tenant_id: ResourceId::parse("system").unwrap(),
        reaches_all: true,
        id: "admin".to_owned(),
        limits: TenantLimits::default(),
        permissions: vec![Permission::parse("*").unwrap()],
        roles: Vec::new(),
        rank: 1_000,
        own_permissions: Vec::new(),
        proof: Proof {
            kind: ProofKind::ApiToken,
            version: None,
            name: "test".to_owned(),
            expire_time: None,
            read_only: false,
            is_stale: false,
        },
    })
}

/// Polls it so many times, each when there is something new for it, and drops it; what it came to, where it did before.
async fn give_up_after<T>(polls: u64, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(None);
        }
        polled += 1;
        match call.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if polled == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

pub(super) async fn every_mutation_that_is_given_up_is_done_once_when_it_is_asked_for_again(rekey: Rekey) {
    let seed = number("REKEY_CHAOS_SEED").unwrap_or_else(|| RandomState::new().hash_one(QUICK) & 0xffff_ffff);
    let rounds = number("REKEY_CHAOS_ROUNDS").unwrap_or(QUICK);
    let mut random = Random(seed);
    let handlers = Handlers::of(&rekey).await;
    let raw = Raw::open(&rekey.options).await;
    let system = Uid::from_stored(raw.texts("SELECT uid FROM tenant WHERE external_id = 'system'").await.remove(0));
    let (mut given_up, mut done_behind, mut tried) = (0_u32, 0_u32, 0_u32);
    // Jobs go on by themselves, and are resumed elsewhere.
    let methods = with_field("request_id").into_iter().filter(|method| !method.changes_many());
    for (position, method) in methods.enumerate() {
        let places: Vec<u64> =
            if rounds > MOST { (0..=MOST).collect() } else { (0..rounds).map(|_| random.below(USUAL)).collect() };
        for polls in places {
            tried += 1;
            let tenant = format!("c{position}-{tried}");
            furnish(&rekey, &tenant).await;
            let mut message = request(&rekey, &method, &tenant).await;
            message.set_field_by_name("request_id", Value::String(tenant.clone()));
            let message = Bytes::from(message.encode_to_vec());

            let (first, again) = (format!("{tenant}.first"), format!("{tenant}.again"));
            let ended = give_up_after(polls, handlers.call(&system, &method, first.clone(), message.clone())).await;
            let whole = handlers.call(&system, &method, again.clone(), message.clone()).await;
            let whole = whole.unwrap_or_else(|status| panic!("{} after {polls} polls: {status:?}", method.path));
            if let Some(ended) = ended {
                assert_eq!(ended.unwrap(), whole, "{} after {polls} polls", method.path);
            } else {
                given_up += 1;
            }

            // By another connection: what was acknowledged is there, once.
            let done = |name: &str| {
                format!(
                    "SELECT count(*) FROM audit WHERE request_id LIKE '{name}' AND outcome = 'succeeded' AND action NOT LIKE '%#%'"
                )
            };
            assert_eq!(raw.number(&done(&format!("{tenant}.%"))).await, 1, "{} after {polls} polls", method.path);
            let replies = format!("SELECT count(*) FROM reply WHERE request_id = '{tenant}'");
            assert_eq!(raw.number(&replies).await, 1, "{} after {polls} polls", method.path);
            let by_first = raw.number(&done(&first)).await;
            done_behind += u32::from(by_first == 1);
            assert_eq!(handlers.call(&system, &method, again, message).await.unwrap(), whole, "{}", method.path);
        }
    }
    let _ = writeln!(
        io::stderr(),
        "chaos: cancellation_all: REKEY_CHAOS_SEED={seed}: {tried} calls, {given_up} given up, {done_behind} done by the first"
    );
    let finished = tried - given_up;
    assert!(done_behind > finished, "of {given_up} that were given up, none was done all the same");
    if !raw.is_sqlite() {
        let open = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
        eventually("no connection is in a transaction", async || raw.number(open).await == 0).await;
    }
}

/// Runs a test of this program with a planted bug: whether it fails.
fn fails_with(bug: &str, test: &str) -> bool {
    let mut again = Command::new(env::current_exe().unwrap());
    let ended = again.args([test, "--exact"]).env("PLANTED_BUG", bug).output().unwrap();
    String::from_utf8_lossy(&ended.stdout).contains("1 failed")
}

#[test]
fn a_transaction_that_ends_with_its_call_is_found() {
    let test = "every_mutation_that_is_given_up_is_done_once_when_it_is_asked_for_again";
    assert!(fails_with("transaction_in_call", &format!("robustness::sqlite::{test}")), "the planted bug was not found");
}
