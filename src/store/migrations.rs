//! The schema, embedded in the binary and brought up to date at start.
//!
//! Any number of instances may start at once: the first takes a named lock, the others wait
//! and find nothing left to do.

use super::connection::{Connection, Store};
use super::diagnosis::ServerVersion;
use super::error::StoreError;
use super::sql::{select, statement};
use diesel::QueryResult;
use diesel::mysql::Mysql;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::{AsyncMigrationHarness, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Longest wait for another instance's migration, in seconds.
const LOCK_WAIT_SECONDS: u64 = 60;
/// GET_LOCK names are the server's, not the database's, and at most 64 characters long.
/// Not SHA1(): MySQL 9.7 no longer has it.
const LOCK_NAME: &str = "CONCAT('taskrunnerx:', LEFT(SHA2(DATABASE(), 256), 40))";

/// One migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The version: its time stamp.
    pub version: String,
    /// Its name with the version, as the folder is called; of one that this binary lacks, the version.
    pub name: String,
    pub applied: bool,
    /// False: the database has it, this binary does not know it.
    pub known: bool,
}

/// Migrating failed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "another instance has been migrating this database for over {LOCK_WAIT_SECONDS} s; look at its log, or wait and start again"
    )]
    Locked,
    #[error("the database is newer than this binary: it has the migrations {}, which this version does not know; start a newer taskrunnerx, or restore a backup made before the upgrade", .0.join(", "))]
    Newer(Vec<String>),
    #[error("a migration failed: {0}")]
    Failed(String),
    #[error("{0} is not supported; MySQL 8.0 or later, or MariaDB 10.6 or later, is needed")]
    OldServer(String),
}

impl Store {
    /// Every migration that the binary or the database knows, in order.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn migration_status(&self) -> Result<Vec<Migration>, MigrateError> {
        let mut conn = self.dedicated().await?;
        let applied = applied(&mut conn).await?;
        Ok(compare(&applied))
    }

    /// Checks the server's version and runs what is pending, under a lock. Returns the names
    /// of what was run.
    ///
    /// # Errors
    /// When the server is too old, the database is newer than this binary, or a statement fails.
    pub async fn migrate(&self) -> Result<Vec<String>, MigrateError> {
        let mut conn = self.dedicated().await?;
        check_version(&mut conn).await?;
        let query = format!("SELECT CAST(GET_LOCK({LOCK_NAME}, {LOCK_WAIT_SECONDS}) AS SIGNED)");
        let got: Option<i64> =
            select::<Nullable<BigInt>>(&query, vec![]).get_result(&mut conn).await.map_err(StoreError::from)?;
        if got != Some(1) {
            return Err(MigrateError::Locked);
        }
        // The lock ends with the connection, whatever happens in between.
        let before = compare(&applied(&mut conn).await?);
        let unknown: Vec<String> = before.iter().filter(|m| !m.known).map(|m| m.version.clone()).collect();
        if !unknown.is_empty() {
            return Err(MigrateError::Newer(unknown));
        }
        let pending: Vec<String> = before.into_iter().filter(|m| !m.applied).map(|m| m.name).collect();
        if !pending.is_empty() {
            let mut harness = AsyncMigrationHarness::new(conn);
            tokio::task::block_in_place(|| harness.run_pending_migrations(MIGRATIONS).map(|_| ()))
                .map_err(|e| MigrateError::Failed(e.to_string()))?;
            conn = harness.into_inner();
        }
        let release = format!("DO RELEASE_LOCK({LOCK_NAME})");
        statement(&release, vec![]).execute(&mut conn).await.map_err(StoreError::from)?;
        Ok(pending)
    }
}

/// The versions that the database has. A database without the table has none.
async fn applied(conn: &mut Connection) -> Result<Vec<String>, StoreError> {
    let found: QueryResult<Vec<String>> =
        select::<Text>("SELECT version FROM __diesel_schema_migrations ORDER BY version", vec![]).load(conn).await;
    match found {
        Ok(versions) => Ok(versions),
        Err(DieselError::DatabaseError(_, info)) if info.message().contains("doesn't exist") => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn compare(applied: &[String]) -> Vec<Migration> {
    let embedded = diesel::migration::MigrationSource::<Mysql>::migrations(&MIGRATIONS).unwrap_or_default();
    let mut all: Vec<Migration> = embedded
        .iter()
        .map(|m| {
            let version = m.name().version().to_string();
            let known = applied.contains(&version);
            Migration { name: m.name().to_string(), version, applied: known, known: true }
        })
        .collect();
    for version in applied {
        if !all.iter().any(|m| &m.version == version) {
            all.push(Migration { version: version.clone(), name: version.clone(), applied: true, known: false });
        }
    }
    all.sort_by(|a, b| a.version.cmp(&b.version));
    all
}

async fn check_version(conn: &mut Connection) -> Result<(), MigrateError> {
    let version: String =
        select::<Text>("SELECT VERSION()", vec![]).get_result(conn).await.map_err(StoreError::from)?;
    let version = ServerVersion::parse(version);
    if version.is_supported() { Ok(()) } else { Err(MigrateError::OldServer(version.text)) }
}
