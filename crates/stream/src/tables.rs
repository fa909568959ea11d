//! What queries see beside `points`: `events`, `devices`, and `alarms`, of which there are none as long as there are no rules.

use std::sync::Arc;

use arrow_array::builder::{MapBuilder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use drover_db::Db;
use drover_model::{Kind, Tenant};
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::devices::v1::{Device, GetDeviceRequest, ListDevicesRequest};
use drover_rpc::{Link, Peers};
use drover_timeseries::{Filter, QueryError, Table};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use sqlx::Row;
use tonic::Status;

/// Bytes of events after which a batch takes no more.
const BATCH_BYTES: usize = 4 << 20;
/// Rows of a batch.
const BATCH_ROWS: i64 = 4_096;
/// Devices that are asked for one by one when a query names them.
const NAMED_DEVICES: usize = 64;
/// Devices of a page of the registry.
const PAGE_DEVICES: u32 = 1_000;

/// All of them.
pub(crate) fn all(db: &Db, peers: &Peers) -> Vec<Arc<dyn Table>> {
    let devices = Devices { client: DevicesClient::new(peers.link("devices")) };
    vec![Arc::new(Events { db: db.clone() }), Arc::new(devices), Arc::new(Alarms)]
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn time(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), nullable)
}

fn times() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, QueryError> {
    RecordBatch::try_new(schema, columns).map_err(|error| QueryError::Internal(error.to_string()))
}

/// What devices reported: `device`, `ts`, `event` (the JSON object that was sent).
struct Events {
    db: Db,
}

impl Table for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![text("device"), time("ts", false), text("event")]))
    }

    fn rows(&self, tenant: &Tenant, filter: &Filter) -> BoxStream<'static, Result<RecordBatch, QueryError>> {
        let scan = EventScan {
            db: self.db.clone(),
            tenant: tenant.clone(),
            schema: self.schema(),
            filter: filter.clone(),
            after: Some((String::new(), i64::MIN)),
        };
        stream::try_unfold(scan, |mut scan| async move {
            let next = scan.next().await?;
            Ok(next.map(|batch| (batch, scan)))
        })
        .boxed()
    }
}

struct EventScan {
    db: Db,
    tenant: Tenant,
    schema: SchemaRef,
    filter: Filter,
    /// Device and position of the last row; none when there are no more.
    after: Option<(String, i64)>,
}

impl EventScan {
    async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        let Some((device, seq)) = self.after.take() else { return Ok(None) };
        let one = self.filter.devices.as_ref().filter(|devices| devices.len() == 1);
        let one = one.and_then(|devices| devices.first()).map(|device| &**device);
        let mut rows = sqlx::query(
            "SELECT device, seq, received_us, json FROM events
             WHERE tenant = $1 AND (device, seq) > ($2, $3) AND received_us >= $4 AND received_us < $5
                 AND ($6 IS NULL OR device = $6)
             ORDER BY device, seq LIMIT $7",
        )
        .bind(self.tenant.as_str())
        .bind(device)
        .bind(seq)
        .bind(self.filter.from)
        .bind(self.filter.to)
        .bind(one)
        .bind(BATCH_ROWS)
        .fetch(self.db.read());
        let (mut devices, mut received, mut events) = (StringBuilder::new(), times(), StringBuilder::new());
        let (mut last, mut bytes, mut count) = (None, 0, 0);
        let unread = |error: sqlx::Error| QueryError::Store(error.into());
        while let Some(row) = rows.try_next().await.map_err(unread)? {
            let (device, json): (&str, &str) =
                (row.try_get(0).map_err(unread)?, row.try_get(3).map_err(unread)?);
            devices.append_value(device);
            received.append_value(row.get(2));
            events.append_value(json);
            bytes += json.len();
            count += 1;
            last = Some((device.to_owned(), row.get(1)));
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        if count == 0 {
            return Ok(None);
        }
        if count == BATCH_ROWS || bytes >= BATCH_BYTES {
            self.after = last;
        }
        let columns: Vec<ArrayRef> =
            vec![Arc::new(devices.finish()), Arc::new(received.finish()), Arc::new(events.finish())];
        batch(Arc::clone(&self.schema), columns).map(Some)
    }
}

/// The registry: `id`, `profile`, `labels` (read one with `labels['site']`), `created`.
struct Devices {
    client: DevicesClient<Link>,
}

impl Table for Devices {
    fn name(&self) -> &'static str {
        "devices"
    }

    fn schema(&self) -> SchemaRef {
        let entries = Fields::from(vec![text("keys"), Field::new("values", DataType::Utf8, true)]);
        let entries = Arc::new(Field::new("entries", DataType::Struct(entries), false));
        let labels = Field::new("labels", DataType::Map(entries, false), false);
        Arc::new(Schema::new(vec![text("id"), text("profile"), labels, time("created", false)]))
    }

    fn rows(&self, tenant: &Tenant, filter: &Filter) -> BoxStream<'static, Result<RecordBatch, QueryError>> {
        let (client, schema, tenant) = (self.client.clone(), self.schema(), tenant.clone());
        if let Some(names) = filter.devices.as_ref().filter(|names| names.len() <= NAMED_DEVICES) {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            return stream::once(named(client, tenant, names))
                .map(move |devices| rows_of(&schema, &devices?))
                .boxed();
        }
        stream::try_unfold(Some(String::new()), move |token| {
            let (mut client, schema, tenant) = (client.clone(), Arc::clone(&schema), tenant.clone());
            async move {
                let Some(page_token) = token else { return Ok(None) };
                let request = ListDevicesRequest {
                    page_size: PAGE_DEVICES,
                    page_token,
                    ..ListDevicesRequest::default()
                };
                let page = client.list_devices(drover_rpc::request(&tenant, request)).await;
                let page = page.map_err(|status| unavailable(&status))?.into_inner();
                let next = Some(page.next_page_token).filter(|token| !token.is_empty());
                Ok(Some((rows_of(&schema, &page.devices)?, next)))
            }
        })
        .boxed()
    }
}

async fn named(
    mut client: DevicesClient<Link>,
    tenant: Tenant,
    names: Vec<String>,
) -> Result<Vec<Device>, QueryError> {
    let mut devices = Vec::new();
    for id in names {
        match client.get_device(drover_rpc::request(&tenant, GetDeviceRequest { id })).await {
            Ok(found) => devices.extend(found.into_inner().device),
            // A name that is no id names no device either.
            Err(status) if matches!(drover_rpc::kind_of(&status), Kind::NotFound | Kind::Invalid) => {}
            Err(status) => return Err(unavailable(&status)),
        }
    }
    Ok(devices)
}

fn unavailable(status: &Status) -> QueryError {
    QueryError::Unavailable(format!("the registry of devices can't be read: {}", status.message()))
}

fn rows_of(schema: &SchemaRef, devices: &[Device]) -> Result<RecordBatch, QueryError> {
    let (mut ids, mut profiles, mut created) = (StringBuilder::new(), StringBuilder::new(), times());
    let mut labels = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for device in devices {
        ids.append_value(&device.id);
        profiles.append_value(&device.profile);
        created.append_value(device.created_us);
        let mut sorted: Vec<_> = device.labels.iter().collect();
        sorted.sort_unstable();
        for (name, value) in sorted {
            labels.keys().append_value(name);
            labels.values().append_value(value);
        }
        labels.append(true).map_err(|error| QueryError::Internal(error.to_string()))?;
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(profiles.finish()),
        Arc::new(labels.finish()),
        Arc::new(created.finish()),
    ];
    batch(Arc::clone(schema), columns)
}

/// What rules raised: `id`, `device`, `rule`, `severity`, `state`, `raised`, `cleared`.
struct Alarms;

impl Table for Alarms {
    fn name(&self) -> &'static str {
        "alarms"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("id"),
            text("device"),
            text("rule"),
            text("severity"),
            text("state"),
            time("raised", false),
            time("cleared", true),
        ]))
    }

    fn rows(&self, _: &Tenant, _: &Filter) -> BoxStream<'static, Result<RecordBatch, QueryError>> {
        stream::empty().boxed()
    }
}
