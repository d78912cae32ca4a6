//! Plain SQL on a test's database, past the service.

use sea_orm::{ConnectOptions, Database, DatabaseConnection};

/// Connections of its own.
pub(crate) async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    // As in the store: what would look after them may go round for ever.
    options.idle_timeout(None).max_lifetime(None).sqlx_logging(false);
    Database::connect(options).await.unwrap()
}
