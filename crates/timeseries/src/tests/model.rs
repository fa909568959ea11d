//! The store against a naive model: any order of points, erasures, flushes, merges, failures and crashes, while points grow too old.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const TENANTS: [&str; 2] = ["t", "u"];
const DEVICES: [&str; 3] = ["a", "b", "b.c"];
const KEYS: [&str; 3] = ["temp", "on", "temp.max"];

#[derive(Debug, Clone)]
struct Made {
    tenant: &'static str,
    device: &'static str,
    key: &'static str,
    ts: i64,
    value: Value,
}

/// What stands at a position of the log.
#[derive(Debug, Clone)]
enum Entry {
    Point(Made),
    Erase(Erase),
}

/// Of all keys when none is named.
#[derive(Debug, Clone)]
struct Erase {
    tenant: &'static str,
    device: &'static str,
    keys: Vec<&'static str>,
}

impl Erase {
    fn hides(&self, made: &Made) -> bool {
        (self.tenant, self.device) == (made.tenant, made.device)
            && (self.keys.is_empty() || self.keys.contains(&made.key))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<Made>),
    Erase(Erase),
    /// So many microseconds.
    Pass(i64),
    Flush,
    /// Merges of files, as many as are due.
    Compact,
    /// The file is written, then the caller gives up.
    GiveUpBeforeRecord,
    /// The transaction is rolled back.
    RollBack,
    /// The transaction is committed, but the caller never learns it.
    CommitUnknown,
    CrashBeforeRecord,
    CrashAfterCommit,
    Crash,
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-9i32..9).prop_map(|tenths| Value::Number(f64::from(tenths) / 10.0)),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => "[a-z]{0,3}".prop_map(|text| Value::Text(text.into())),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    let names = (
        prop::sample::select(&TENANTS[..]),
        prop::sample::select(&DEVICES[..]),
        prop::sample::select(&KEYS[..]),
    );
    (names, -20i64..20, value()).prop_map(|((tenant, device, key), ts, value)| Made {
        tenant,
        device,
        key,
        ts,
        value,
    })
}

fn erase() -> impl Strategy<Value = Erase> {
    let names = (prop::sample::select(&TENANTS[..]), prop::sample::select(&DEVICES[..]));
    let keys = prop::collection::vec(prop::sample::select(&KEYS[..]), 0..3);
    (names, keys).prop_map(|((tenant, device), keys)| Erase { tenant, device, keys })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(made(), 1..30).prop_map(Step::Push),
        2 => erase().prop_map(Step::Erase),
        1 => (1i64..12).prop_map(Step::Pass),
        3 => Just(Step::Flush),
        3 => Just(Step::Compact),
        1 => Just(Step::GiveUpBeforeRecord),
        1 => Just(Step::RollBack),
        1 => Just(Step::CommitUnknown),
        1 => Just(Step::CrashBeforeRecord),
        1 => Just(Step::CrashAfterCommit),
        1 => Just(Step::Crash),
    ]
}

/// Microseconds that points of the keys `temp`, `temp*` and all others are kept; 0 is for ever.
type Keep = [u64; 3];

fn keep() -> impl Strategy<Value = Keep> {
    prop_oneof![3 => Just([0; 3]), 1 => prop::array::uniform3(prop_oneof![Just(0), 5u64..40])]
}

/// A store, the log that feeds it and how much of the log is committed.
struct Run {
    place: Place,
    log: Vec<Entry>,
    committed: usize,
    keep: Keep,
    now: i64,
}

impl Run {
    async fn new(keep: Keep) -> Self {
        let run = Self { place: Place::new().await, log: Vec::new(), committed: 0, keep, now: 0 };
        run.set_retention();
        run
    }

    fn set_retention(&self) {
        let keep = self.keep.map(|us| (us > 0).then(|| Duration::from_micros(us)));
        let rule = |keys: &str, keep| RetentionRule { keys: keys.into(), keep };
        let rules = vec![rule("temp*", keep[1]), rule("temp", keep[0])];
        let rules = TENANTS.iter().map(|tenant| ((*tenant).into(), rules.clone())).collect();
        let retention = Retention { default: keep[2], rules };
        self.place.store.set_retention(&retention, Timestamp::from_micros(self.now));
    }

    /// Since when points of a key are kept.
    fn kept_from(&self, key: &str) -> i64 {
        let keep = match key {
            "temp" => self.keep[0],
            _ if key.starts_with("temp") => self.keep[1],
            _ => self.keep[2],
        };
        if keep == 0 { i64::MIN } else { self.now - keep.cast_signed() }
    }

    async fn reopen(&mut self) {
        self.place.reopen().await;
        self.set_retention();
        self.apply(self.committed);
    }

    fn apply(&self, from: usize) {
        self.place.store.apply(SHARD, |head| {
            for (seq, entry) in self.log.iter().enumerate().skip(from) {
                let made = match entry {
                    Entry::Point(made) => made,
                    Entry::Erase(Erase { tenant, device, keys }) => {
                        head.erase(tenant, device, keys.iter().copied(), seq as u64);
                        continue;
                    }
                };
                let slot = head.device(made.tenant, made.device);
                let ts = Timestamp::from_micros(made.ts);
                head.push(
                    slot,
                    made.key,
                    ts,
                    made.value.borrowed(),
                    seq as u64,
                    Flags(u8::from(made.ts < 0)),
                );
            }
        });
    }

    async fn crash(&mut self) {
        self.reopen().await;
    }

    async fn step(&mut self, step: Step) {
        if let Step::Push(points) = step {
            let from = self.log.len();
            self.log.extend(points.into_iter().map(Entry::Point));
            return self.apply(from);
        }
        if let Step::Erase(erase) = step {
            let from = self.log.len();
            self.log.push(Entry::Erase(erase));
            return self.apply(from);
        }
        if let Step::Pass(us) = step {
            self.now += us;
            return self.set_retention();
        }
        if matches!(step, Step::Compact) {
            return self.compact().await;
        }
        if matches!(step, Step::Crash) {
            return self.crash().await;
        }
        let flush = self.place.store.freeze_and_write(SHARD).await.unwrap();
        match step {
            Step::GiveUpBeforeRecord => return drop(flush),
            Step::CrashBeforeRecord => {
                std::mem::forget(flush);
                return self.crash().await;
            }
            _ => {}
        }
        let end = self.log.len() as u64;
        let mut tx = self.place.db.begin().await.unwrap();
        if let Some(flush) = &flush {
            flush.record(&mut tx).await.unwrap();
        }
        self.place.store.record_erasures(SHARD, end, &mut tx).await.unwrap();
        if matches!(step, Step::RollBack) {
            return drop(tx);
        }
        tx.commit().await.unwrap();
        match step {
            Step::CommitUnknown => return drop(flush),
            Step::CrashAfterCommit => {
                std::mem::forget(flush);
                self.committed = self.log.len();
                return self.crash().await;
            }
            _ => {
                if let Some(flush) = flush {
                    flush.publish();
                }
                self.place.store.erasures_recorded(SHARD, end);
            }
        }
        self.committed = self.log.len();
    }

    async fn compact(&self) {
        let now = Timestamp::from_micros(self.now);
        while self.place.store.compact(2, now).await.unwrap().is_some() {}
    }

    /// After a flush and merges, files have nothing that was erased, and nobody needs to know any more that it was. Nor have they
    /// points of keys whose rule has passed over the whole file.
    async fn check_files(&mut self) {
        self.step(Step::Flush).await;
        self.compact().await;
        for path in self.place.files() {
            let rows: Vec<(usize, &Made)> = positions(&path).into_iter().map(|seq| self.made(seq)).collect();
            let last = rows.iter().map(|(_, made)| made.ts).max().unwrap();
            for (at, made) in rows {
                let later = self.log.iter().skip(at);
                let mut erases =
                    later.filter(|entry| matches!(entry, Entry::Erase(erase) if erase.hides(made)));
                assert!(erases.next().is_none(), "{made:?} at {at} is still in a file");
                assert!(self.kept_from(made.key) <= last, "{made:?} is too old, as is all of its file");
            }
        }
        let erasures = erasures::load(self.place.db.read()).await.unwrap();
        assert_eq!(erasures, []);
    }

    fn made(&self, seq: u64) -> (usize, &Made) {
        let at = usize::try_from(seq).unwrap();
        match self.log.get(at) {
            Some(Entry::Point(made)) => (at, made),
            other => panic!("{other:?} at {seq} is no point"),
        }
    }

    /// What a device's series should hold.
    fn expected(&self, name: &str, device: &str) -> BTreeMap<TelemetryKey, BTreeMap<i64, Value>> {
        let mut series: BTreeMap<TelemetryKey, BTreeMap<i64, Value>> = BTreeMap::new();
        for entry in &self.log {
            match entry {
                Entry::Point(made) if made.tenant == name && made.device == device => {
                    series.entry(key(made.key)).or_default().insert(made.ts, made.value.clone());
                }
                Entry::Erase(erase) if erase.tenant == name && erase.device == device => {
                    series.retain(|key, _| !erase.keys.is_empty() && !erase.keys.contains(&key.as_str()));
                }
                Entry::Point(_) | Entry::Erase(_) => {}
            }
        }
        for (key, samples) in &mut series {
            samples.retain(|ts, _| *ts >= self.kept_from(key.as_str()));
        }
        series.retain(|_, samples| !samples.is_empty());
        series
    }

    async fn check(&self) {
        for name in TENANTS {
            let mut listed = BTreeMap::new();
            for device in DEVICES {
                let expected = self.expected(name, device);
                let latest = self.place.store.latest(SHARD, &tenant(name), &id(device)).await.unwrap();
                let newest: BTreeMap<_, _> = expected
                    .iter()
                    .map(|(key, samples)| {
                        (key.clone(), samples.iter().next_back().map(|(ts, v)| sample(*ts, v)).unwrap())
                    })
                    .collect();
                assert_eq!(latest, newest, "latest of {name} {device}");
                if !newest.is_empty() {
                    listed.insert(id(device), newest.into_iter().collect::<Vec<_>>());
                }
                self.check_ranges(name, device, &expected).await;
            }
            let page = self.place.store.list_latest(&tenant(name), None, 2).await.unwrap();
            let mut paged = spelled(page);
            if let Some(last) = paged.last().map(|(device, _)| device.to_string()) {
                let rest = self.place.store.list_latest(&tenant(name), Some(&last), 2).await.unwrap();
                paged.extend(spelled(rest));
            }
            assert_eq!(paged, listed.into_iter().collect::<Vec<_>>(), "list of {name}");
        }
    }

    /// A query sees each point once.
    async fn check_sql(&self, name: &str) {
        let sql = "SELECT device || '/' || key AS series, ts, value, text FROM points".to_owned();
        let query = Query { sql, format: Format::Json, timeout: None };
        let (first, mut answer) = self.engine().query(&tenant(name), query).await.unwrap();
        let mut bytes = first.to_vec();
        while let Some(piece) = answer.next().await {
            bytes.extend(piece.unwrap());
        }
        let answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let mut seen: Vec<String> =
            answer["rows"].as_array().unwrap().iter().map(|row| row["series"].to_string()).collect();
        let mut expected = Vec::new();
        for device in DEVICES {
            for (key, samples) in self.expected(name, device) {
                expected.extend(samples.values().map(|_| format!("\"{device}/{key}\"")));
            }
        }
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "sql of {name}");
    }

    fn engine(&self) -> Engine {
        let bounds = QueryBounds {
            memory_bytes: 64 << 20,
            timeout: Duration::from_secs(60),
            rows: 1 << 20,
            concurrent: 2,
        };
        Engine::new(self.place.store.clone(), Vec::new(), bounds, self.place.dir.path().join("spill"))
    }

    /// Small pages make the same as one large one.
    async fn check_pages(&self, name: &str, device: &str, query: &RangeQuery) {
        let store = &self.place.store;
        let (mut paged, mut query) = (BTreeMap::<TelemetryKey, Vec<Sample>>::new(), query.clone());
        loop {
            let answer = store.range(SHARD, &tenant(name), &id(device), &query).await.unwrap();
            for (key, mut samples) in answer.series {
                assert!(samples.len() <= query.limit, "{key}");
                samples.append(paged.entry(key.clone()).or_default());
                paged.insert(key, samples);
            }
            let Some(next) = answer.next else { break };
            query.resume = Some(next);
        }
        let whole = RangeQuery { limit: usize::MAX, resume: None, ..query };
        let whole = store.range(SHARD, &tenant(name), &id(device), &whole).await.unwrap();
        assert_eq!((paged, None), (whole.series, whole.next));
    }

    async fn check_ranges(
        &self,
        name: &str,
        device: &str,
        expected: &BTreeMap<TelemetryKey, BTreeMap<i64, Value>>,
    ) {
        let bounds = (Timestamp::from_micros(-7), Timestamp::from_micros(9));
        let window = RangeQuery {
            from: bounds.0,
            to: bounds.1,
            keys: vec![key("temp"), key("on")],
            limit: 3,
            ..all()
        };
        let buckets = RangeQuery {
            interval: Some(Duration::from_micros(5)),
            aggregation: Some(Aggregation::Count),
            ..all()
        };
        for (query, what) in [(all(), "all"), (window, "window"), (buckets, "buckets")] {
            let answer = self.place.store.range(SHARD, &tenant(name), &id(device), &query).await.unwrap();
            assert!(answer.incomplete.is_empty(), "{:?}", answer.incomplete);
            let model: BTreeMap<_, _> = expected
                .iter()
                .filter(|(key, _)| query.keys.is_empty() || query.keys.contains(key))
                .map(|(key, samples)| (key.clone(), naive(samples, &query)))
                .filter(|(_, samples)| !samples.is_empty())
                .collect();
            self.check_pages(name, device, &RangeQuery { limit: 2, ..query.clone() }).await;
            let shown: BTreeMap<_, _> =
                answer.series.into_iter().map(|(k, s)| (k, without_flags(s, &query))).collect();
            assert_eq!(shown, model, "{what} of {name} {device}");
        }
    }
}

/// A device with the names of its keys at each sample.
type Spelled = (DeviceId, Vec<(TelemetryKey, Sample)>);

fn spelled(page: LatestPage) -> Vec<Spelled> {
    assert!(page.keys.is_sorted());
    let named = |(key, sample): (u32, Sample)| (page.keys[key as usize].clone(), sample);
    page.devices.into_iter().map(|(id, values)| (id, values.into_iter().map(named).collect())).collect()
}

fn sample(ts: i64, value: &Value) -> Sample {
    Sample { ts: Timestamp::from_micros(ts), value: value.clone(), flags: Flags(u8::from(ts < 0)) }
}

fn without_flags(samples: Vec<Sample>, query: &RangeQuery) -> Vec<Sample> {
    let cleared = |sample: Sample| Sample { flags: Flags::NONE, ..sample };
    if query.interval.is_some() { samples.into_iter().map(cleared).collect() } else { samples }
}

fn naive(samples: &BTreeMap<i64, Value>, query: &RangeQuery) -> Vec<Sample> {
    let inside = samples.range(query.from.as_micros()..query.to.as_micros());
    let mut answer: Vec<Sample> = if query.interval.is_some() {
        let mut counts = BTreeMap::new();
        inside.for_each(|(ts, _)| *counts.entry(ts.div_euclid(5) * 5).or_insert(0.0) += 1.0);
        counts
            .iter()
            .map(|(ts, count)| Sample { flags: Flags::NONE, ..sample(*ts, &Value::Number(*count)) })
            .collect()
    } else {
        inside.map(|(ts, value)| sample(*ts, value)).collect()
    };
    answer.drain(..answer.len().saturating_sub(query.limit));
    answer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_doubled_or_mixed_up_whatever_fails(steps in prop::collection::vec(step(), 1..14), keep in keep()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(keep).await;
            for step in steps {
                run.step(step).await;
                run.check().await;
            }
            for name in TENANTS {
                run.check_sql(name).await;
            }
            run.reopen().await;
            run.check().await;
            run.check_files().await;
            run.check().await;
        });
    }
}
