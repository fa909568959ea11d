//! Queries over a store as their callers see them.

use std::time::Duration;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use drover_model::ValueRef;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value as Json, json};

use super::*;
use crate::tests::{Place, tenant};

const BOUNDS: QueryBounds =
    QueryBounds { memory_bytes: 64 << 20, timeout: Duration::from_secs(60), rows: 1_000_000, concurrent: 4 };

/// The engine of a store, its folder for spilled rows inside the store's.
fn engine(place: &Place, bounds: QueryBounds) -> Engine {
    Engine::new(place.store.clone(), vec![Arc::new(Sites)], bounds, place.dir.path().join("spill"))
}

async fn whole(engine: &Engine, tenant: &Tenant, sql: &str, format: Format) -> Result<Vec<u8>, QueryError> {
    let query = Query { sql: sql.to_owned(), format, timeout: None };
    let (first, mut answer) = engine.query(tenant, query).await?;
    let mut all = first.to_vec();
    while let Some(piece) = answer.next().await {
        all.extend(piece?);
    }
    Ok(all)
}

async fn json(engine: &Engine, sql: &str) -> Json {
    let bytes =
        whole(engine, &tenant("t"), sql, Format::Json).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    serde_json::from_slice(&bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)))
}

async fn rows(engine: &Engine, sql: &str) -> Json {
    json(engine, sql).await["rows"].take()
}

async fn refusal(engine: &Engine, sql: &str) -> QueryError {
    whole(engine, &tenant("t"), sql, Format::Json).await.unwrap_err()
}

/// A table of another service, each tenant's own.
struct Sites;

impl Table for Sites {
    fn name(&self) -> &'static str {
        "sites"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("device", DataType::Utf8, false),
            Field::new("site", DataType::Utf8, false),
        ]))
    }

    fn rows(&self, tenant: &Tenant, _: &Filter) -> BoxStream<'static, Result<RecordBatch, QueryError>> {
        let devices = StringArray::from_iter_values(["a", "b"]);
        let sites = StringArray::from_iter_values([format!("{}-north", tenant.as_str()), "south".to_owned()]);
        let batch = RecordBatch::try_new(self.schema(), vec![Arc::new(devices), Arc::new(sites)]);
        stream::iter([batch.map_err(|error| QueryError::Internal(error.to_string()))]).boxed()
    }
}

/// Points in a file, in memory, and in both.
async fn mixed() -> Place {
    let place = Place::new().await;
    for ts in 0..10 {
        place.number("a", ts * 1_000_000, ts as f64);
        place.number("b", ts * 1_000_000, 10.0 * ts as f64);
    }
    place.push("a", "mode", 0, ValueRef::Text("auto"), 1);
    place.push("a", "on", 0, ValueRef::Bool(true), 1);
    place.flush().await;
    // A correction of what the file holds, and what came later.
    place.push("a", "k", 3_000_000, ValueRef::Number(300.0), 4_000_000);
    place.number("a", 10_000_000, 10.0);
    place
}

#[tokio::test]
async fn each_point_is_seen_once_with_the_value_that_came_last() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    let sql = "SELECT device, count(*) AS n, sum(value) AS total FROM points WHERE key = 'k' GROUP BY device ORDER BY device";
    let expected = json!([
        {"device": "a", "n": 11, "total": 45.0 - 3.0 + 300.0 + 10.0},
        {"device": "b", "n": 10, "total": 450.0},
    ]);
    assert_eq!(rows(&engine, sql).await, expected);
    place.flush().await;
    assert_eq!(rows(&engine, sql).await, expected, "two files");
    let corrected = rows(
        &engine,
        "SELECT value FROM points WHERE device = 'a' AND ts = '1970-01-01T00:00:03Z' AND key = 'k'",
    )
    .await;
    assert_eq!(corrected, json!([{"value": 300.0}]));
}

#[tokio::test]
async fn texts_booleans_and_times_have_their_columns() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    let answer =
        json(&engine, "SELECT key, ts, value, text FROM points WHERE key IN ('mode', 'on') ORDER BY key")
            .await;
    assert_eq!(
        answer["rows"],
        json!([
            {"key": "mode", "ts": "1970-01-01T00:00:00Z", "value": null, "text": "auto"},
            {"key": "on", "ts": "1970-01-01T00:00:00Z", "value": 1.0, "text": null},
        ])
    );
    let types: Vec<_> =
        answer["columns"].as_array().unwrap().iter().map(|column| column["type"].clone()).collect();
    assert_eq!(types, ["text", "timestamp", "number", "text"]);
}

#[tokio::test]
async fn time_buckets_first_last_and_percentile_are_understood() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    let sql = "SELECT time_bucket('5s', ts) AS bucket, first(value, ts) AS first, last(value, ts) AS last, \
               percentile(value, 0.5) AS median FROM points WHERE device = 'b' GROUP BY bucket ORDER BY bucket";
    assert_eq!(
        rows(&engine, sql).await,
        json!([
            {"bucket": "1970-01-01T00:00:00Z", "first": 0.0, "last": 40.0, "median": 20.0},
            {"bucket": "1970-01-01T00:00:05Z", "first": 50.0, "last": 90.0, "median": 70.0},
        ])
    );
    let error = refusal(&engine, "SELECT time_bucket('soon', ts) FROM points").await.to_string();
    assert!(error.contains("'5m'"), "{error}");
}

#[tokio::test]
async fn gaps_are_filled_by_joining_a_series_of_times() {
    let place = Place::new().await;
    for ts in [0, 20] {
        place.number("a", ts * 1_000_000, ts as f64);
    }
    let engine = engine(&place, BOUNDS);
    let sql = "SELECT bucket, p.value FROM time_buckets('10s', '1970-01-01T00:00:00Z', '1970-01-01T00:00:21Z') \
               LEFT JOIN (SELECT time_bucket('10s', ts) AS bucket, avg(value) AS value FROM points GROUP BY 1) p \
               USING (bucket) ORDER BY bucket";
    let filled = rows(&engine, sql).await;
    let values: Vec<_> = filled.as_array().unwrap().iter().map(|row| row["value"].clone()).collect();
    assert_eq!(values, [json!(0.0), Json::Null, json!(20.0)], "{filled}");
}

#[tokio::test]
async fn conditions_on_time_and_names_leave_exactly_what_passes() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    for (condition, expected) in [
        ("ts >= '1970-01-01T00:00:02Z' AND ts < '1970-01-01T00:00:05Z'", 6),
        ("ts BETWEEN '1970-01-01T00:00:02Z' AND '1970-01-01T00:00:05Z'", 8),
        ("'1970-01-01T00:00:09Z' <= ts", 3),
        ("device = 'a' OR device = 'b'", 21),
        ("device = 'a' OR value > 50", 11 + 4),
        ("device IN ('b', 'c')", 10),
        ("device NOT IN ('b', 'c')", 11),
        ("device = 'a' AND device = 'b'", 0),
        ("device LIKE 'a%'", 11),
        ("device > 'a'", 10),
        ("ts > now() - INTERVAL '1 hour'", 0),
        ("ts < now() - INTERVAL '1 hour'", 21),
        ("ts < to_timestamp_micros(2000001)", 6),
        ("ts > TIMESTAMP '1970-01-01T00:00:08.999999500'", 3),
    ] {
        let sql = format!("SELECT count(*) AS n FROM points WHERE key = 'k' AND ({condition})");
        assert_eq!(rows(&engine, &sql).await, json!([{"n": expected}]), "{condition}");
    }
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_in_every_table_and_can_name_no_others() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    let sql = "SELECT (SELECT count(*) FROM points) AS n, (SELECT min(site) FROM sites) AS site";
    let other = whole(&engine, &tenant("u"), sql, Format::Json).await.unwrap();
    let other: Json = serde_json::from_slice(&other).unwrap();
    assert_eq!(other["rows"], json!([{"n": 0, "site": "south"}]));
    let joined = "SELECT s.site, count(*) AS n FROM points p JOIN sites s ON s.device = p.device WHERE p.key = 'k' GROUP BY 1 ORDER BY 1";
    assert_eq!(
        rows(&engine, joined).await,
        json!([{"site": "south", "n": 10}, {"site": "t-north", "n": 11}])
    );
    for name in ["point_file", "u.points", "drover.u.points", "'/etc/passwd'", "\"/etc/passwd.csv\""] {
        let error = refusal(&engine, &format!("SELECT * FROM {name}")).await;
        assert!(matches!(error, QueryError::Wrong(_)), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn nothing_can_be_changed() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    for sql in [
        "INSERT INTO points (device) VALUES ('x')",
        "DELETE FROM points",
        "UPDATE points SET value = 1",
        "DROP TABLE points",
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1 AS a) TO '/tmp/drover-must-not-exist.csv'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE DELETE FROM points",
        "SELECT 1; SELECT 2",
        "",
    ] {
        let error = refusal(&engine, sql).await;
        assert!(matches!(error, QueryError::Wrong(_)), "{sql}: {error:?}");
    }
    assert_eq!(rows(&engine, "SELECT count(*) AS n FROM points WHERE key = 'k'").await, json!([{"n": 21}]));
}

#[tokio::test]
async fn an_error_names_the_place_and_what_is_there() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    for (sql, wanted) in [
        ("SELECT devise FROM points", vec!["line 1, column 8", "devise", "device"]),
        ("SELECT * FROM pointz", vec!["pointz"]),
        ("SELECT *\nFORM points", vec!["line 2", "FORM"]),
        ("SELECT nosuch(value) FROM points", vec!["nosuch"]),
        ("SELECT repeat('x', 2000000000)", vec!["repeat"]),
        ("SELECT a.device, b.device FROM points a JOIN points b USING (seq)", vec!["two columns", "AS"]),
    ] {
        let error = refusal(&engine, sql).await.to_string();
        for word in wanted {
            assert!(error.contains(word), "{sql}: {error}");
        }
        assert!(!error.contains("DataFusion") && !error.contains("backtrace"), "{error}");
    }
}

#[tokio::test]
async fn a_query_is_bounded_in_time_rows_and_memory() {
    let place = mixed().await;
    let endless = "SELECT count(*) AS n FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b \
                   CROSS JOIN generate_series(1, 1000) c WHERE a.value * b.value % 7 = c.value";
    let short = engine(&place, QueryBounds { timeout: Duration::from_millis(300), ..BOUNDS });
    assert!(matches!(refusal(&short, endless).await, QueryError::Timeout { .. }));
    let few = engine(&place, QueryBounds { rows: 5, ..BOUNDS });
    assert!(matches!(refusal(&few, "SELECT * FROM points").await, QueryError::Rows { rows: 5 }));
    assert_eq!(rows(&few, "SELECT 1 AS a FROM points LIMIT 5").await.as_array().unwrap().len(), 5);
    let small = engine(&place, QueryBounds { memory_bytes: 4 << 20, ..BOUNDS });
    let hungry = "SELECT array_agg(a.value) AS all FROM generate_series(1, 3000) a CROSS JOIN generate_series(1, 3000) b";
    let error = refusal(&small, hungry).await;
    assert!(matches!(error, QueryError::Memory { megabytes: 4 }), "{error:?}");
    assert_eq!(error.kind(), drover_model::Kind::Exhausted);
    for (engine, outcome) in [(&short, "timeout"), (&few, "rows"), (&small, "memory")] {
        let counted = counted(engine);
        let line = format!("queries_total{{outcome=\"{outcome}\"}} 1");
        assert!(counted.lines().any(|counted| counted == line), "{line} is none of {counted}");
    }
    let counted = counted(&few);
    for line in ["queries_total{outcome=\"answered\"} 1", "query_seconds_count 2", "queries_running 0"] {
        assert!(counted.lines().any(|counted| counted == line), "{line} is none of {counted}");
    }
}

/// What an engine has counted, as Prometheus reads it.
fn counted(engine: &Engine) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    engine.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test]
async fn a_query_that_nobody_waits_for_ends_and_makes_room() {
    let place = mixed().await;
    let engine = engine(&place, QueryBounds { concurrent: 1, ..BOUNDS });
    let long = "SELECT a.value, b.value AS other FROM generate_series(1, 10000) a CROSS JOIN generate_series(1, 10000) b";
    let query = Query { sql: long.to_owned(), format: Format::Csv, timeout: None };
    let (first, answer) = engine.query(&tenant("t"), query).await.unwrap();
    assert!(first.starts_with(b"value,other\n"));
    drop(answer);
    assert_eq!(rows(&engine, "SELECT 1 AS one").await, json!([{"one": 1}]));
}

#[tokio::test]
async fn a_sort_that_does_not_fit_into_memory_goes_to_disk() {
    let place = Place::new().await;
    let engine = engine(&place, QueryBounds { memory_bytes: 32 << 20, ..BOUNDS });
    let sql = "SELECT n FROM (SELECT value AS n, value * 7919 % 1000003 AS k FROM generate_series(1, 900000)) ORDER BY k";
    let csv = whole(&engine, &tenant("t"), sql, Format::Csv).await.unwrap();
    assert_eq!(csv.iter().filter(|byte| **byte == b'\n').count(), 900_001);
    let counted = counted(&engine);
    let value =
        |name: &str| counted.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    assert_eq!(value("query_rows_total"), Some(900_000));
    assert!(value("query_spilled_bytes_total") > Some(1_000_000), "{counted}");
}

#[tokio::test]
async fn csv_has_a_header_also_without_rows_and_arrow_reads_back() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    let csv = async |sql: &str| {
        String::from_utf8(whole(&engine, &tenant("t"), sql, Format::Csv).await.unwrap()).unwrap()
    };
    assert_eq!(csv("SELECT device, value FROM points WHERE device = 'nobody'").await, "device,value\n");
    assert_eq!(
        csv("SELECT device, text, value FROM points WHERE key IN ('mode', 'on') ORDER BY key").await,
        "device,text,value\na,auto,\na,,1.0\n"
    );
    let bytes =
        whole(&engine, &tenant("t"), "SELECT device, ts, value FROM points WHERE key = 'k'", Format::Arrow)
            .await
            .unwrap();
    let reader = datafusion::arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 21);
}

#[tokio::test]
async fn a_damaged_file_is_named_and_the_rest_is_answered() {
    let place = mixed().await;
    let file = place.files().remove(0);
    std::fs::write(&file, b"PAR1 is not enough").unwrap();
    let engine = engine(&place, BOUNDS);
    let answer = json(&engine, "SELECT device, value FROM points WHERE key = 'k' ORDER BY ts").await;
    assert_eq!(answer["rows"], json!([{"device": "a", "value": 300.0}, {"device": "a", "value": 10.0}]));
    let name = file.file_name().unwrap().to_str().unwrap();
    assert_eq!(answer["incomplete"], json!([name]));
    let error = whole(&engine, &tenant("t"), "SELECT * FROM points", Format::Csv).await.unwrap_err();
    assert!(matches!(&error, QueryError::Incomplete(files) if files == name), "{error:?}");
}

#[tokio::test]
async fn the_tables_and_their_columns_can_be_asked_for() {
    let place = mixed().await;
    let engine = engine(&place, BOUNDS);
    let tables = rows(
        &engine,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'tenant' ORDER BY 1",
    )
    .await;
    assert_eq!(tables, json!([{"table_name": "points"}, {"table_name": "sites"}]));
    let columns = rows(&engine, "DESCRIBE points").await;
    let names: Vec<_> = columns.as_array().unwrap().iter().map(|row| row["column_name"].clone()).collect();
    assert_eq!(names, ["device", "key", "ts", "value", "text", "seq", "flags"]);
    assert!(!rows(&engine, "EXPLAIN SELECT * FROM points").await.as_array().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_tenant_leaves_places_for_others() {
    let places = Places::new(4);
    let (first, _second) =
        (places.take(&tenant("t")).await.unwrap(), places.take(&tenant("t")).await.unwrap());
    assert!(matches!(places.take(&tenant("t")).await, Err(QueryError::Busy)));
    let _other = places.take(&tenant("u")).await.unwrap();
    drop(first);
    let _third = places.take(&tenant("t")).await.unwrap();
}
