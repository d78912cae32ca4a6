//! The database, past the service.

use rekey::app::ServiceOptions;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, QueryResult, Statement};

/// One connection of its own, for plain SQL.
pub(crate) struct Raw(DatabaseConnection);

impl Raw {
    pub(crate) async fn open(options: &ServiceOptions) -> Self {
        let mut options = ConnectOptions::new(options.store.url.clone());
        // As in the store: what would look after them may go round for ever.
        options.idle_timeout(None).max_lifetime(None).max_connections(1);
        Self(Database::connect(options).await.unwrap())
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.0.get_database_backend() == DbBackend::Sqlite
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.unwrap();
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.rows(sql).await.first().unwrap().try_get_by_index(0).unwrap()
    }

    pub(crate) async fn bytes(&self, sql: &str) -> Vec<u8> {
        self.rows(sql).await.first().unwrap().try_get_by_index(0).unwrap()
    }

    /// The first column.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        self.rows(sql).await.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<QueryResult> {
        self.0.query_all_raw(Statement::from_string(self.0.get_database_backend(), sql)).await.unwrap()
    }

    /// All that an act can change, as text.
    pub(crate) async fn state(&self) -> Vec<String> {
        let mut state = Vec::new();
        for sql in [
            "SELECT uid || external_id || version FROM tenant ORDER BY uid",
            "SELECT uid || wrapping_key_id FROM data_key ORDER BY uid",
            "SELECT uid || external_id || coalesce(login, '') || version || update_time FROM subject ORDER BY uid",
            "SELECT subject_uid || slot || version || stage || stage_time FROM secret ORDER BY 1",
        ] {
            state.extend(self.texts(sql).await);
        }
        state
    }

    /// Nobody can add a record any more.
    pub(crate) async fn forbid_records(&self) {
        if self.is_sqlite() {
            self.run("CREATE TRIGGER forbid BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'forbidden'); END").await;
        } else {
            self.run(
                "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'forbidden'; END $$;
                 CREATE TRIGGER forbid BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION forbid()",
            )
            .await;
        }
    }

    pub(crate) async fn allow_records(&self) {
        self.run(if self.is_sqlite() { "DROP TRIGGER forbid" } else { "DROP TRIGGER forbid ON audit" }).await;
    }
}
