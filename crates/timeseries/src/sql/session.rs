//! What a query may name: the tables of one tenant, and functions that don't make much of little.

use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionStateBuilder, SessionStateDefaults};
use datafusion::prelude::{SessionConfig, SessionContext};
use drover_model::Tenant;

use super::points::Points;
use super::table::View;
use super::{Table, functions, processors};

const CATALOG: &str = "drover";
const SCHEMA: &str = "tenant";
/// What one query that doesn't fit into its memory may write to disk.
const SPILL_BYTES: u64 = 2 << 30;
/// Functions whose results take memory before anybody counts it.
const ABSENT_FUNCTIONS: [&str; 8] =
    ["repeat", "lpad", "rpad", "array_repeat", "list_repeat", "array_resize", "list_resize", "range"];

/// A session of one tenant, with bytes of memory and a folder for what doesn't fit into it.
pub(crate) fn of(
    tenant: &Tenant,
    points: Points,
    tables: &[Arc<dyn Table>],
    (memory_bytes, spill): (usize, &Path),
) -> Result<SessionContext> {
    let schema = MemorySchemaProvider::new();
    schema.register_table("points".to_owned(), Arc::new(points))?;
    for table in tables {
        let view = View { table: Arc::clone(table), tenant: tenant.clone() };
        schema.register_table(table.name().to_owned(), Arc::new(view))?;
    }
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, Arc::new(schema))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));

    let mut scalar = SessionStateDefaults::default_scalar_functions();
    scalar.retain(|function| !ABSENT_FUNCTIONS.contains(&function.name()));
    scalar.extend(functions::scalar());
    let mut aggregate = SessionStateDefaults::default_aggregate_functions();
    aggregate.extend(functions::aggregate());
    let mut table_functions = SessionStateDefaults::default_table_functions();
    table_functions.push(functions::table());
    let state = SessionStateBuilder::new()
        .with_config(config(memory_bytes))
        .with_runtime_env(runtime(memory_bytes, spill)?)
        .with_catalog_list(Arc::new(catalogs))
        .with_default_features()
        .with_scalar_functions(scalar)
        .with_aggregate_functions(aggregate)
        .with_table_function_list(table_functions)
        .build();
    Ok(SessionContext::new_with_state(state))
}

fn config(memory_bytes: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(processors());
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.execution.sort_spill_reservation_bytes = memory_bytes / 32;
    config
}

fn runtime(memory_bytes: usize, spill: &Path) -> Result<Arc<RuntimeEnv>> {
    let disk = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill.to_owned()]))
        .with_max_temp_directory_size(SPILL_BYTES);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()
}
