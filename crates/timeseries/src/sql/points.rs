//! The table `points`: the heads and the files of one tenant as of one moment, each point once.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use drover_model::Tenant;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::ParquetError;

use super::Filter;
use super::table::pushdown;
use crate::columns::HeadBatches;
use crate::damage::Damage;
use crate::file::{Part, Wanted, schema};
use crate::footers::Footers;
use crate::gone::Gone;
use crate::head::Head;
use crate::merge::Merge;
use crate::read::batches;
use crate::store::Store;

/// Batches that wait for the engine, for each partition.
const WAITING_BATCHES: usize = 2;

/// Files that a query could not read.
pub(crate) type Missing = Arc<Mutex<BTreeSet<Arc<str>>>>;

/// One tenant's view of the points.
pub(crate) struct Points {
    pub(crate) store: Store,
    pub(crate) tenant: Tenant,
    pub(crate) missing: Missing,
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("points")
    }
}

#[async_trait]
impl TableProvider for Points {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(pushdown(filters))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = Filter::of(filters);
        let all: Vec<usize> = (0..schema().fields().len()).collect();
        let columns = projection.unwrap_or(&all);
        let reading = Arc::new(Reading {
            dir: self.store.0.dir.clone(),
            footers: Arc::clone(&self.store.0.footers),
            damage: Arc::clone(&self.store.0.damage),
            missing: Arc::clone(&self.missing),
            tenant: self.tenant.as_str().into(),
            wanted: filter.wanted(),
            columns: columns.clone(),
        });
        let sources = if filter.is_empty() { Vec::new() } else { sources(&self.store, &reading) };
        let partitions = session.config().target_partitions().max(1);
        let schema = Arc::new(schema().project(columns)?);
        let partitions = deal(tasks(sources, &reading.wanted), partitions).into_iter().map(|tasks| {
            let (schema, reading) = (Arc::clone(&schema), Arc::clone(&reading));
            Arc::new(Scan { schema, reading, tasks: tasks.into() }) as Arc<dyn PartitionStream>
        });
        let exec =
            StreamingTableExec::try_new(Arc::clone(&schema), partitions.collect(), None, [], false, None)?;
        Ok(Arc::new(exec))
    }
}

/// What all partitions of a scan share.
struct Reading {
    dir: PathBuf,
    footers: Arc<Footers>,
    damage: Arc<Damage>,
    missing: Missing,
    tenant: Box<str>,
    wanted: Wanted,
    columns: Vec<usize>,
}

/// Where rows are, with the least and the greatest time and device of them.
#[derive(Clone)]
struct Source {
    rows: Rows,
    span: (i64, i64),
    devices: (Box<str>, Box<str>),
    points: u64,
}

#[derive(Clone)]
enum Rows {
    File(Arc<Part>),
    Head(Arc<Head>),
}

/// Something that one thread reads: row groups of a file whose points are nowhere else, a head alone, or sources that must be merged
/// since they may hold the same points, or some that no longer count.
#[derive(Clone)]
enum Task {
    Groups(Arc<Part>, Range<usize>),
    Head(Arc<Head>),
    Merged(Vec<Source>, Gone),
}

/// The sources of each shard that may have wanted rows, and what of these no longer counts, as of one moment for each shard.
fn sources(store: &Store, reading: &Reading) -> Vec<(Vec<Source>, Gone)> {
    let (tenant, wanted) = (&*reading.tenant, &reading.wanted);
    let of_head = |head: Arc<Head>| {
        let mut names: Vec<_> = head.slots(tenant, wanted).into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let devices = (names.first()?.clone(), names.last()?.clone());
        Some(Source {
            span: head.span(tenant)?,
            devices,
            points: head.points() as u64,
            rows: Rows::Head(head),
        })
    };
    let of_file = |part: Arc<Part>| Source {
        span: (part.min_ts, part.max_ts),
        devices: (part.min_device.clone(), part.max_device.clone()),
        points: part.points,
        rows: Rows::File(part),
    };
    let of_shard = |shard: &crate::store::ShardSlot| {
        let (live, frozen, parts, gone) = {
            let state = shard.state.read();
            let gone = store.0.gone(&state, tenant);
            let parts = state.files.get(tenant).into_iter().flatten();
            let parts = parts.filter(|part| wanted.meets(part) && !gone.has_all(part));
            let parts = parts.cloned().collect::<Vec<_>>();
            (state.live.select(tenant, wanted), state.frozen.clone(), parts, gone)
        };
        let heads = live.map(Arc::new).into_iter().chain(frozen).filter_map(of_head);
        (heads.chain(parts.into_iter().map(of_file)).collect(), gone)
    };
    store.0.shards.iter().map(of_shard).collect()
}

/// What can be read on its own, and what must be merged.
fn tasks(shards: Vec<(Vec<Source>, Gone)>, wanted: &Wanted) -> Vec<(u64, Task)> {
    let groups = shards
        .into_iter()
        .flat_map(|(sources, gone)| overlapping(sources).into_iter().map(move |group| (group, gone.clone())));
    let mut tasks = Vec::new();
    for (group, gone) in groups {
        let points = group.iter().map(|source| source.points).sum();
        match group.as_slice() {
            [Source { rows: Rows::Head(head), .. }] if gone.is_empty() => {
                tasks.push((points, Task::Head(Arc::clone(head))));
            }
            [Source { rows: Rows::File(part), .. }] if !gone.meets(part, &wanted.devices) => {
                let share = points / u64::try_from(part.row_groups.max(1)).unwrap_or(1);
                let groups = part.first_row_group..part.first_row_group + part.row_groups;
                tasks.extend(groups.map(|group| (share, Task::Groups(Arc::clone(part), group..group + 1))));
            }
            _ => tasks.push((points, Task::Merged(group, gone))),
        }
    }
    tasks
}

/// Groups of sources that overlap in devices and times, by way of others or directly.
fn overlapping(mut sources: Vec<Source>) -> Vec<Vec<Source>> {
    sources.sort_unstable_by_key(|source| source.span.0);
    let mut groups: Vec<Vec<Source>> = Vec::new();
    for source in sources {
        let meets = |other: &Source| {
            source.span.0 <= other.span.1
                && other.span.0 <= source.span.1
                && source.devices.0 <= other.devices.1
                && other.devices.0 <= source.devices.1
        };
        let (mut joined, apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group: &Vec<Source>| group.iter().any(meets));
        let mut group: Vec<Source> = joined.drain(..).flatten().collect();
        group.push(source);
        groups = apart;
        groups.push(group);
    }
    groups
}

/// Deals tasks to partitions, the largest first to who has least; files keep their order.
fn deal(mut tasks: Vec<(u64, Task)>, partitions: usize) -> Vec<Vec<Task>> {
    let mut hands: Vec<(u64, Vec<Task>)> = vec![(0, Vec::new()); partitions];
    tasks.sort_by_key(|(points, _)| std::cmp::Reverse(*points));
    for (points, task) in tasks {
        if let Some((load, hand)) = hands.iter_mut().min_by_key(|(load, _)| *load) {
            *load += points.max(1);
            hand.push(task);
        }
    }
    hands.into_iter().map(|(_, tasks)| tasks).collect()
}

/// One partition of a scan.
struct Scan {
    schema: SchemaRef,
    reading: Arc<Reading>,
    tasks: Arc<[Task]>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&Task) -> bool| self.tasks.iter().filter(|task| is(task)).count();
        let groups = count(|task| matches!(task, Task::Groups(..)));
        let heads = count(|task| matches!(task, Task::Head(_)));
        let merged = count(|task| matches!(task, Task::Merged(..)));
        write!(f, "points: {groups} row groups, {heads} heads, {merged} merges")
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), WAITING_BATCHES);
        let (reading, tasks, sender) = (Arc::clone(&self.reading), Arc::clone(&self.tasks), stream.tx());
        stream.spawn_blocking(move || {
            for task in &*tasks {
                for batch in reading.batches(task) {
                    // Nobody takes it any more when the query was given up.
                    if sender.blocking_send(batch.map_err(DataFusionError::from)).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        stream.build()
    }
}

type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'a>;

impl Reading {
    fn batches<'a>(self: &'a Arc<Self>, task: &'a Task) -> Batches<'a> {
        let project = |batch: Result<RecordBatch, ArrowError>| batch?.project(&self.columns);
        match task {
            Task::Groups(part, groups) => {
                let mut columns = self.columns.clone();
                columns.sort_unstable();
                let places = self.columns.iter().filter_map(|column| columns.binary_search(column).ok());
                let places: Vec<usize> = places.collect();
                let batches = FileBatches::open(self, part, groups.clone(), Some(&columns));
                Box::new(batches.map(move |batch| batch.project(&places)))
            }
            Task::Head(head) => Box::new(self.head(head).map(project)),
            Task::Merged(sources, gone) => {
                let sources = sources.iter().map(|source| self.source(source)).collect();
                let counting = |batch: Result<RecordBatch, ParquetError>| gone.filter(batch?);
                Box::new(Merge::new(sources).map(counting).map(project))
            }
        }
    }

    fn head(&self, head: &Arc<Head>) -> HeadBatches {
        HeadBatches::new(Arc::clone(head), &self.tenant, self.wanted.clone())
    }

    fn source(
        self: &Arc<Self>,
        source: &Source,
    ) -> Box<dyn Iterator<Item = Result<RecordBatch, ParquetError>> + Send> {
        match &source.rows {
            Rows::Head(head) => Box::new(self.head(head).map(|batch| batch.map_err(ParquetError::from))),
            Rows::File(part) => {
                let groups = part.first_row_group..part.first_row_group + part.row_groups;
                Box::new(FileBatches::open(self, part, groups, None).map(Ok))
            }
        }
    }
}

/// The batches of a file as far as it can be read; what can't is noted.
struct FileBatches {
    reading: Arc<Reading>,
    part: Arc<Part>,
    reader: Option<ParquetRecordBatchReader>,
}

impl FileBatches {
    fn open(
        reading: &Arc<Reading>,
        part: &Arc<Part>,
        groups: Range<usize>,
        columns: Option<&[usize]>,
    ) -> Self {
        let (reading, part) = (Arc::clone(reading), Arc::clone(part));
        let opened = batches((&reading.dir, &reading.footers), &part, groups, &reading.wanted, columns);
        let mut this = Self { reading, part, reader: None };
        match opened {
            Ok(reader) => this.reader = reader,
            Err(error) => this.fail(&error.to_string()),
        }
        this
    }

    fn fail(&mut self, reason: &str) {
        self.reading.damage.found(&self.part.file, reason);
        self.reading.missing.lock().insert(Arc::clone(&self.part.file));
        self.reader = None;
    }
}

impl Iterator for FileBatches {
    type Item = RecordBatch;

    fn next(&mut self) -> Option<RecordBatch> {
        match self.reader.as_mut()?.next()? {
            Ok(batch) => Some(batch),
            Err(error) => {
                self.fail(&error.to_string());
                None
            }
        }
    }
}
