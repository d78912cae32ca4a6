//! Databases that fail, and what is said of it.

use std::{
    io,
    net::TcpListener,
    sync::{Arc, LazyLock, Mutex},
};

use rekey::{
    audit::Target,
    domain::{Reason, Slot, SubjectKind, SubjectRef, TenantRef},
    store::{Store, StoreOptions},
};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

use crate::fixture::{Database, cause, id, new_uid, record, reset, secret, subject};

pub(crate) async fn a_failed_commit_is_an_unknown_outcome_and_leaves_the_store_usable(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, _) = database.user(&tenant, "u1").await;
    // What is wrong shows at the commit and not before.
    if database.is_sqlite() {
        database
            .raw
            .run(
                "CREATE TABLE trap (uid TEXT REFERENCES tenant (uid) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TRIGGER fall AFTER INSERT ON audit WHEN NEW.detail = 'fall'
                 BEGIN INSERT INTO trap VALUES ('nobody'); END;",
            )
            .await;
    } else {
        database
            .raw
            .run(
                "CREATE FUNCTION fall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF NEW.detail = 'fall' THEN RAISE EXCEPTION 'fallen'; END IF; RETURN NULL; END $$;
                 CREATE CONSTRAINT TRIGGER fall AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
                     FOR EACH ROW EXECUTE FUNCTION fall();",
            )
            .await;
    }
    let mut note = record(&tenant.uid);
    "fall".clone_into(&mut note.detail);
    let error = database.store.change_subject(reset(&user, 1), note.clone()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::OutcomeUnknown, "{error:?}");
    assert_eq!(database.raw.records(&note.uid).await, 0);

    note.detail.clear();
    database.store.change_subject(reset(&user, 1), note.clone()).await.unwrap();
    assert_eq!(database.raw.records(&note.uid).await, 1);
}

pub(crate) async fn what_is_not_migrated_is_unavailable(database: Database) {
    database.raw.run("DROP TABLE audit_link").await;
    database.raw.run("DROP TABLE audit").await;
    let error = database.store.append_records(vec![record(&new_uid())]).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable, "{error:?}");
    assert!(error.retry_delay().is_some());
    assert!(!error.message().contains("audit") && cause(&error).contains("audit"));
}

pub(crate) async fn a_row_that_cannot_be_read_is_named_without_its_content(database: Database) {
    let tenant = database.tenant("acme").await;
    let (user, _) = database.user(&tenant, "u1").await;
    let reference = SubjectRef::Id(user.id.clone());

    database.raw.run("UPDATE secret SET stage = 'odd-stage'").await;
    let error = database.store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Internal);
    assert!(cause(&error).contains(&format!("secret {}", user.uid)) && !cause(&error).contains("odd"));

    database.raw.run("UPDATE subject SET attributes = '{\"display_name\": 5, \"odd\"'").await;
    let error = database.store.subject(&tenant.uid, SubjectKind::User, &reference).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Internal);
    assert!(cause(&error).contains(&format!("subject {}", user.uid)) && !cause(&error).contains("odd"));

    database.raw.run("UPDATE tenant SET external_id = '*'").await;
    let error = database.store.tenant(&TenantRef::Own, &tenant.uid).await.unwrap_err();
    assert!(cause(&error).contains(&format!("tenant {}", tenant.uid)));
}

pub(crate) async fn a_closed_store_is_unavailable(database: Database) {
    database.store.close().await;
    assert_eq!(database.store.check().await.unwrap_err().reason(), Reason::StoreUnavailable);
    let found = database.store.tenant(&TenantRef::Id(id("acme")), &new_uid()).await;
    assert_eq!(found.unwrap_err().reason(), Reason::StoreUnavailable);
    let error = database.store.append_records(vec![record(&new_uid())]).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_at_once() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let url = format!("postgres://somebody:hunter2@127.0.0.1:{port}/rekey");
    let options = StoreOptions { url, max_connections: 1 };
    assert!(!format!("{options:?}").contains("hunter2"));
    let error = Store::connect(&options).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable);
    assert!(cause(&error).contains("refused"), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_url_that_cannot_be_meant_is_refused() {
    for url in
        ["", "rekey.db", "mysql://localhost/rekey", "sqlite:", "sqlite::memory:", "sqlite:a?mode=ro", "postgres://[/"]
    {
        let options = StoreOptions { url: url.to_owned(), max_connections: 1 };
        assert_eq!(Store::connect(&options).await.unwrap_err().reason(), Reason::StoreUnavailable, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_asked_again_where_it_could_not_serialise() {
    let Some(database) = Database::postgres().await else { return };
    database
        .raw
        .run(
            "CREATE SEQUENCE tries;
             CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF nextval('tries') <= NEW.detail::int THEN RAISE EXCEPTION 'clash' USING ERRCODE = '40001'; END IF;
                 RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER clash AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION clash();",
        )
        .await;
    let mut note = record(&new_uid());
    "3".clone_into(&mut note.detail);
    database.store.append_records(vec![note.clone()]).await.unwrap();
    assert_eq!(database.raw.records(&note.uid).await, 1);

    // It is not asked for ever.
    note.uid = new_uid();
    "1000".clone_into(&mut note.detail);
    let error = database.store.append_records(vec![note.clone()]).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable);
    assert_eq!(database.raw.records(&note.uid).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_recovers_when_postgres_drops_its_connections() {
    let Some(database) = Database::postgres().await else { return };
    let checks: Vec<_> = (0..8)
        .map(|_| {
            let store = database.store.clone();
            tokio::spawn(async move { store.check().await })
        })
        .collect();
    for check in checks {
        check.await.unwrap().unwrap();
    }
    let drop_all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert!(database.raw.number(drop_all).await > 0);
    for _ in 0..8 {
        match database.store.append_records(vec![record(&new_uid())]).await {
            Ok(()) => return,
            Err(error) => assert_eq!(error.reason(), Reason::StoreUnavailable, "{error:?}"),
        }
    }
    database.store.append_records(vec![record(&new_uid())]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_given_its_time_outs() {
    let Some(database) = Database::postgres().await else { return };
    // Seen from inside: a trigger notes what the store's own connection is set to.
    database
        .raw
        .run(
            "CREATE TABLE seen AS SELECT '' AS settings;
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 UPDATE seen SET settings = concat_ws(' ', current_setting('statement_timeout'),
                     current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'));
                 RETURN NULL; END $$;
             CREATE TRIGGER look AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION look();",
        )
        .await;
    database.store.append_records(vec![record(&new_uid())]).await.unwrap();
    assert_eq!(database.raw.text("SELECT settings FROM seen").await.as_deref(), Some("5s 2s 5s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_postgres_fails_the_check() {
    let Some(database) = Database::postgres().await else { return };
    let name = database.options.url.rsplit('/').next().unwrap();
    database.raw.run(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let store = Store::connect(&database.options).await.unwrap();
    assert_eq!(store.check().await.unwrap_err().reason(), Reason::StoreUnavailable);
    let error = store.append_records(vec![record(&new_uid())]).await.unwrap_err();
    assert_eq!(error.reason(), Reason::StoreUnavailable);
}

/// Everything that this process logs, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(log.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    log
});

pub(crate) async fn no_value_reaches_the_log(database: Database) {
    let log = LOG.clone();
    let tenant = database.tenant("acme").await;
    // The server trusts everybody here; the store does not know.
    let mut options = database.options.clone();
    options.url = options.url.replace("rekey@", "rekey:canary-password@");
    let store = Store::connect(&options).await.unwrap();
    let mut user = subject(&tenant, SubjectKind::User, "canary-id");
    user.login = Some("canary-login".to_owned());
    "canary-name".clone_into(&mut user.attributes.display_name);
    let mut password = secret(&user, Slot::Password, 1);
    password.payload = b"canary-payload".to_vec();
    let mut note = record(&tenant.uid);
    note.target = Target::Subject(SubjectKind::User, "canary-target".to_owned());

    store.insert_subject(user.clone(), vec![password.clone()], note.clone()).await.unwrap();
    store.insert_subject(user.clone(), vec![password.clone()], note.clone()).await.unwrap_err();
    let reference = SubjectRef::Login("canary-login".to_owned());
    store.subject_with_secrets(&tenant.uid, SubjectKind::User, &reference).await.unwrap().unwrap();
    store.rehash(password, 1, record(&tenant.uid)).await.unwrap();
    store.change_subject(reset(&user, 1), record(&tenant.uid)).await.unwrap();
    let error = store.change_subject(reset(&user, 2), note).await.unwrap_err();
    assert!(!format!("{error:?}").contains("canary"));
    store.close().await;

    let written = log.0.lock().unwrap().clone();
    let written = String::from_utf8_lossy(&written);
    assert!(written.contains("TRACE") && written.contains("sea_orm"), "the driver is heard too");
    assert!(written.contains("insert_subject") && written.contains("change_subject"), "commands are named");
    // As text, as a list of bytes, in hexadecimal.
    for canary in ["canary", "99, 97, 110, 97, 114, 121", "63616e617279"] {
        assert!(!written.to_lowercase().contains(canary), "{canary} is in the log");
    }
}
