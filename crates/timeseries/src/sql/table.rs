//! Tables that other parts of the installation bring: read a page at a time, as far as a query wants.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use drover_model::Tenant;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use super::{Filter, QueryError};

/// A table beside `points`.
pub trait Table: Send + Sync {
    /// Its name in queries.
    fn name(&self) -> &'static str;

    /// Its columns.
    fn schema(&self) -> SchemaRef;

    /// The rows of a tenant that pass `filter`, or more of them. Begins when it is polled; dropped when no more are wanted.
    fn rows(&self, tenant: &Tenant, filter: &Filter) -> BoxStream<'static, Result<RecordBatch, QueryError>>;
}

/// One tenant's view of a table.
pub(crate) struct View {
    pub(crate) table: Arc<dyn Table>,
    pub(crate) tenant: Tenant,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table.name())
    }
}

#[async_trait]
impl TableProvider for View {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(pushdown(filters))
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = Rows {
            schema: self.table.schema(),
            table: Arc::clone(&self.table),
            tenant: self.tenant.clone(),
            filter: Filter::of(filters),
        };
        let schema = self.table.schema();
        let exec = StreamingTableExec::try_new(schema, vec![Arc::new(rows)], projection, [], false, None)?;
        Ok(Arc::new(exec))
    }
}

/// Conditions that a table reads less for. The engine checks each of them again.
pub(crate) fn pushdown(filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
    let of = |filter: &&Expr| match Filter::understands(filter) {
        true => TableProviderFilterPushDown::Inexact,
        false => TableProviderFilterPushDown::Unsupported,
    };
    filters.iter().map(of).collect()
}

struct Rows {
    schema: SchemaRef,
    table: Arc<dyn Table>,
    tenant: Tenant,
    filter: Filter,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table.name())
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.table.rows(&self.tenant, &self.filter);
        let rows = rows.map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
