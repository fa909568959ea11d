//! Sets of migrations out of embedded texts.

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Makes a set out of `(number, what, text)`, one for each file `migrations/NNNN_what.sql` of a service:
/// `migrations(&[(1, "devices", include_str!("../migrations/0001_devices.sql"))])`.
pub fn migrations(files: &[(i64, &'static str, &'static str)]) -> Migrator {
    let set = files.iter().map(|&(number, what, text)| {
        Migration::new(number, what.into(), MigrationType::Simple, SqlStr::from_static(text), false)
    });
    Migrator::with_migrations(set.collect())
}
