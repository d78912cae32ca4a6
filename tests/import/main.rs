//! Taking over the users of other systems, from outside: files and streams in, passwords checked, the census read.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

mod bounds;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod streams;

use rekey::{
    proto::{
        DuplicatePolicy, GetPasswordCensusRequest, GetUserRequest, ImportBatch, ImportOptions, ImportUser,
        ImportUsersRequest, ImportUsersResponse, Tenant, User, VerifyPasswordRequest, import_users_request::Content,
        verify_password_request,
    },
    store::StoreOptions,
};
use tonic::Status;

use crate::common::{
    postgres,
    rekey::{Clients, Rekey},
};

/// The password of every fixture but Firebase's.
const PASSWORD: &str = "correct horse battery staple";
const BCRYPT: &str = "$2b$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W";
const OURS: &str = "argon2id m=7168 t=5 p=1";

async fn with_tenant() -> Rekey {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    rekey
}

/// The same on PostgreSQL, where there is one.
async fn with_tenant_on_postgres() -> Option<Rekey> {
    let url = postgres::url()?;
    let rekey = Rekey::start_with(|options| options.store = StoreOptions { url, max_connections: 4 }).await;
    rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    Some(rekey)
}

fn user(id: &str, hash: &str) -> ImportUser {
    ImportUser {
        user_id: id.to_owned(),
        username: format!("{id}@acme.example"),
        password_hash: hash.to_owned(),
        ..ImportUser::default()
    }
}

fn options(duplicate_policy: DuplicatePolicy) -> ImportOptions {
    ImportOptions {
        tenant_id: "acme".to_owned(),
        duplicate_policy: duplicate_policy.into(),
        ..ImportOptions::default()
    }
}

/// One import, and the answer to each batch.
async fn import(
    clients: &Clients,
    options: ImportOptions,
    batches: Vec<Vec<ImportUser>>,
) -> Result<Vec<ImportUsersResponse>, Status> {
    let batches = batches.into_iter().map(|users| Content::Batch(ImportBatch { users }));
    let contents: Vec<_> = std::iter::once(Content::Options(options)).chain(batches).collect();
    send(clients, contents).await
}

async fn send(clients: &Clients, contents: Vec<Content>) -> Result<Vec<ImportUsersResponse>, Status> {
    let messages = contents.into_iter().map(|content| ImportUsersRequest { content: Some(content) });
    let stream = tokio_stream::iter(messages.collect::<Vec<_>>());
    let mut answers = clients.clone().users.import_users(stream).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

/// Created, replaced, skipped, and the failures' places and reasons.
fn counts(answer: &ImportUsersResponse) -> (u32, u32, u32, Vec<(u64, &str)>) {
    let failures = answer.failures.iter().map(|failure| (failure.index, failure.reason.as_str())).collect();
    (answer.created, answer.replaced, answer.skipped, failures)
}

async fn verifies(clients: &Clients, user_id: &str, password: &str) -> bool {
    let request = VerifyPasswordRequest {
        source: String::new(),
        tenant_id: "acme".to_owned(),
        subject: Some(verify_password_request::Subject::UserId(user_id.to_owned())),
        password: password.to_owned(),
    };
    clients.clone().users.verify_password(request).await.unwrap().into_inner().verified
}

async fn get(clients: &Clients, user_id: &str) -> Result<User, Status> {
    let request = GetUserRequest { tenant_id: "acme".to_owned(), user_id: user_id.to_owned() };
    Ok(clients.clone().users.get_user(request).await?.into_inner().user.unwrap())
}

async fn census(clients: &Clients) -> Vec<(String, i64)> {
    let request = GetPasswordCensusRequest { tenant_id: "acme".to_owned() };
    let answer = clients.clone().users.get_password_census(request).await.unwrap().into_inner();
    answer.schemes.into_iter().map(|scheme| (scheme.scheme, scheme.count)).collect()
}
