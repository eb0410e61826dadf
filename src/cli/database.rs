//! The database, of the commands that need no server: `migrate` and `apikey`.

use super::{EXIT_UNREACHABLE, EXIT_USAGE, Failure, load};
use crate::config::{Environment, Flags};
use crate::store::Store;
use crate::store::migrations::MigrateError;
use crate::telemetry::Metrics;
use std::path::PathBuf;

/// Connections: one works, and one more for what a lost one leaves behind.
const POOL: usize = 2;

/// The database that the configuration names. Connects at first use.
///
/// # Errors
/// When the configuration is wrong, or names none.
pub(super) fn open(config: Option<PathBuf>) -> Result<Store, Failure> {
    let flags = Flags { config, ..Flags::default() };
    let (config, _) = load(&flags, &Environment::of_process())?;
    let url = config.require_database()?;
    let metrics = Metrics::new().map_err(Failure::new)?;
    Store::new(url.expose(), Some(POOL), metrics).map_err(|error| Failure::with_code(EXIT_USAGE, error))
}

/// Brings the schema up to date; gives the names of what was run. It blocks its thread: so it has a task of its own, and
/// Ctrl-C ends the command meanwhile.
///
/// # Errors
/// Those of [`Store::migrate`].
pub(super) async fn migrate(store: &Store) -> Result<Vec<String>, Failure> {
    let store = store.clone();
    let migrating = tokio::spawn(async move { store.migrate().await });
    migrating.await.map_err(Failure::new)?.map_err(Failure::from)
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match &error {
            MigrateError::Store(store) if store.is_transient() => Self::with_code(EXIT_UNREACHABLE, error),
            _ => Self::new(error),
        }
    }
}
