//! What questions answer.

use super::*;

#[tokio::test]
async fn tenants_with_equal_device_names_never_meet() {
    let place = Place::new().await;
    let push = |name: &str, number: f64| {
        place.store.apply(SHARD, |head| {
            let slot = head.device(name, "d");
            head.push(slot, "k", Timestamp::from_micros(1), ValueRef::Number(number), 1, Flags::NONE);
        });
    };
    let check = async |what: &str| {
        for (name, number) in [("t", 1.0), ("u", 2.0)] {
            let answer = place.store.range(SHARD, &tenant(name), &id("d"), &all()).await.unwrap();
            assert_eq!(numbers(&answer, "k"), [(1, number)], "{what}");
            let latest = place.store.latest(SHARD, &tenant(name), &id("d")).await.unwrap();
            assert_eq!(latest[&key("k")].value, Value::Number(number), "{what}");
            assert_eq!(
                place.store.list_latest(&tenant(name), None, 9).await.unwrap().devices.len(),
                1,
                "{what}"
            );
        }
        let stranger = place.store.range(SHARD, &tenant("v"), &id("d"), &all()).await.unwrap();
        assert!(stranger.series.is_empty());
    };
    push("t", 1.0);
    push("u", 2.0);
    check("in memory").await;
    place.flush().await;
    check("in a file").await;
}

#[tokio::test]
async fn the_value_that_came_last_in_the_log_is_shown() {
    let place = Place::new().await;
    place.push("d", "k", 5, ValueRef::Number(1.0), 10);
    place.push("d", "k", 5, ValueRef::Number(2.0), 11);
    place.push("d", "k", 5, ValueRef::Number(3.0), 9);
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(5, 2.0)]);
    place.flush().await;
    place.push("d", "k", 5, ValueRef::Number(4.0), 8);
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(5, 2.0)]);
    place.push("d", "k", 5, ValueRef::Number(5.0), 12);
    place.push("d", "k", 5, ValueRef::Number(6.0), 12);
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(5, 6.0)]);
}

#[tokio::test]
async fn booleans_texts_and_remarks_survive_a_flush() {
    let place = Place::new().await;
    place.store.apply(SHARD, |head| {
        let slot = head.device("t", "d");
        let ts = Timestamp::from_micros(1);
        head.push(slot, "on", ts, ValueRef::Bool(true), 1, Flags::TIME_REPLACED);
        head.push(slot, "off", ts, ValueRef::Bool(false), 1, Flags::NONE);
        head.push(slot, "mode", ts, ValueRef::Text("grün"), 1, Flags::NONE);
        head.push(slot, "empty", ts, ValueRef::Text(""), 1, Flags::NONE);
    });
    let before = place.range("d", &all()).await;
    place.flush().await;
    let after = place.range("d", &all()).await;
    assert_eq!(before, after);
    assert_eq!(after.series["on"][0].value, Value::Bool(true));
    assert_eq!(after.series["on"][0].flags, Flags::TIME_REPLACED);
    assert_eq!(after.series["mode"][0].value, Value::Text("grün".into()));
    assert_eq!(after.series["empty"][0].value, Value::Text("".into()));
    let latest = place.store.latest(SHARD, &tenant("t"), &id("d")).await.unwrap();
    assert_eq!(latest[&key("off")].value, Value::Bool(false));
}

#[tokio::test]
async fn intervals_are_aligned_to_the_epoch_and_reduced() {
    let place = Place::new().await;
    for (ts, number) in [(-1, 1.0), (0, 2.0), (9, 4.0), (10, 8.0)] {
        place.push("d", "k", ts, ValueRef::Number(number), 1);
    }
    place.push("d", "k", 5, ValueRef::Text("x"), 1);
    place.push("d", "k", 8, ValueRef::Bool(true), 1);
    let expected = [
        (Aggregation::Avg, [1.0, 7.0 / 3.0, 8.0]),
        (Aggregation::Min, [1.0, 1.0, 8.0]),
        (Aggregation::Max, [1.0, 4.0, 8.0]),
        (Aggregation::Sum, [1.0, 7.0, 8.0]),
        (Aggregation::Count, [1.0, 4.0, 1.0]),
        (Aggregation::Last, [1.0, 4.0, 8.0]),
    ];
    for (kind, [a, b, c]) in expected {
        let query =
            RangeQuery { interval: Some(Duration::from_micros(10)), aggregation: Some(kind), ..all() };
        assert_eq!(numbers(&place.range("d", &query).await, "k"), [(-10, a), (0, b), (10, c)], "{kind:?}");
    }
    let query = RangeQuery { interval: Some(Duration::ZERO), ..all() };
    let refused = place.store.range(SHARD, &tenant("t"), &id("d"), &query).await.unwrap_err();
    assert_eq!(refused.kind(), drover_model::Kind::Invalid);
}

#[tokio::test]
async fn an_aggregation_without_interval_takes_the_whole_range() {
    let place = Place::new().await;
    place.number("d", 1, 1.0);
    place.number("d", 5, 3.0);
    let query = RangeQuery { from: Timestamp::from_micros(1), aggregation: Some(Aggregation::Sum), ..all() };
    assert_eq!(numbers(&place.range("d", &query).await, "k"), [(1, 4.0)]);
}

#[tokio::test]
async fn a_limit_keeps_the_newest_and_the_range_excludes_its_end() {
    let place = Place::new().await;
    for ts in 0..10 {
        place.number("d", ts, 0.0);
        if ts % 3 == 2 {
            place.flush().await;
        }
    }
    let query = RangeQuery { to: Timestamp::from_micros(8), limit: 3, keys: vec![key("k")], ..all() };
    let times: Vec<i64> = numbers(&place.range("d", &query).await, "k").iter().map(|(ts, _)| *ts).collect();
    assert_eq!(times, [5, 6, 7]);
}

#[tokio::test]
async fn an_answer_has_a_bound_over_all_of_its_keys() {
    let place = Place::new().await;
    let many = i64::try_from(MAX_ANSWER_SAMPLES).unwrap() * 3 / 2;
    place.store.apply(SHARD, |head| {
        let slot = head.device("t", "d");
        for ts in 0..many {
            for name in ["a", "b"] {
                head.push(slot, name, Timestamp::from_micros(ts), ValueRef::Number(1.0), 1, Flags::NONE);
            }
        }
    });
    place.flush().await;
    let answer = place.range("d", &all()).await;
    assert_eq!(answer.series["a"].len() + answer.series["b"].len(), MAX_ANSWER_SAMPLES);
    assert_eq!(answer.series["b"].last().unwrap().ts.as_micros(), many - 1);
    // More rows than an aggregation holds at a time: the span is halved.
    let sums =
        RangeQuery { interval: Some(Duration::from_secs(1)), aggregation: Some(Aggregation::Sum), ..all() };
    let sum = numbers(&place.range("d", &sums).await, "a");
    assert_eq!(sum, [(0, f64::from(u32::try_from(many).unwrap()))]);
}

#[tokio::test]
async fn a_device_is_found_among_many_pages_and_row_groups() {
    let place = Place::new().await;
    place.store.apply(SHARD, |head| {
        for device in 0..400 {
            let slot = head.device("t", &format!("device-{device:03}"));
            for ts in 0..100 {
                for name in ["a", "b", "c", "d", "e"] {
                    let number = f64::from(device) + f64::from(ts) / 1_000.0;
                    let ts = Timestamp::from_micros(i64::from(ts));
                    head.push(slot, name, ts, ValueRef::Number(number), 1, Flags::NONE);
                }
            }
        }
    });
    place.flush().await;
    assert_eq!(place.store.stats().file_points, 200_000);
    for device in [0, 1, 199, 262, 399] {
        let query = RangeQuery {
            from: Timestamp::from_micros(7),
            to: Timestamp::from_micros(9),
            keys: vec![key("c")],
            ..all()
        };
        let answer = place.range(&format!("device-{device:03}"), &query).await;
        assert_eq!(numbers(&answer, "c"), [(7, f64::from(device) + 0.007), (8, f64::from(device) + 0.008)]);
        assert_eq!(answer.series.len(), 1);
    }
    assert!(place.range("device-1000", &all()).await.series.is_empty());
}

#[tokio::test]
async fn a_device_with_many_keys_has_each_of_them() {
    let place = Place::new().await;
    for name in 0..100 {
        place.push("d", &format!("k{name}"), 1, ValueRef::Number(f64::from(name)), 1);
        place.push("d", &format!("k{name}"), 2, ValueRef::Number(f64::from(name)), 2);
    }
    let check = async || {
        let answer = place.range("d", &all()).await;
        assert_eq!(answer.series.len(), 100);
        assert!(answer.series.values().all(|samples| samples.len() == 2));
        assert_eq!(place.store.latest(SHARD, &tenant("t"), &id("d")).await.unwrap().len(), 100);
    };
    check().await;
    place.flush().await;
    check().await;
}

#[tokio::test]
async fn a_query_during_a_flush_sees_each_point_once() {
    let place = Place::new().await;
    place.number("d", 1, 1.0);
    let flush = place.store.freeze_and_write(SHARD).await.unwrap().unwrap();
    place.number("d", 2, 2.0);
    let count =
        RangeQuery { aggregation: Some(Aggregation::Count), from: Timestamp::from_micros(0), ..all() };
    let seen = async || numbers(&place.range("d", &count).await, "k");
    assert_eq!(seen().await, [(0, 2.0)]);
    let mut tx = place.db.begin().await.unwrap();
    flush.record(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(seen().await, [(0, 2.0)]);
    flush.publish();
    assert_eq!(seen().await, [(0, 2.0)]);
    assert_eq!(place.store.head_points(SHARD), 1);
}

#[tokio::test]
async fn pages_of_latest_values_go_through_all_shards_by_name() {
    let place = Place::new().await;
    let options = StoreOptions { shards: 3, ..StoreOptions::default() };
    let store = Store::open(place.db.clone(), place.dir.path().join("points"), options).await.unwrap();
    let push = |number: u16, key: &str| {
        store.apply(number % 3, |head| {
            let slot = head.device("t", &format!("d{number}"));
            head.push(slot, key, Timestamp::from_micros(1), ValueRef::Bool(true), 1, Flags::NONE);
        });
    };
    (0..8).for_each(|number| push(number, "z"));
    let flush = store.freeze_and_write(1).await.unwrap().unwrap();
    let mut tx = place.db.begin().await.unwrap();
    flush.record(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    flush.publish();
    (0..8).for_each(|number| push(number, "a"));
    let mut names: Vec<String> = Vec::new();
    loop {
        let page = store.list_latest(&tenant("t"), names.last().map(String::as_str), 3).await.unwrap();
        let keys = |values: &[(u32, Sample)]| {
            values.iter().map(|(key, _)| page.keys[*key as usize].to_string()).collect::<Vec<_>>()
        };
        assert!(page.devices.iter().all(|(_, values)| keys(values) == ["a", "z"]), "{page:?}");
        names.extend(page.devices.iter().map(|(id, _)| id.to_string()));
        if page.devices.len() < 3 {
            break;
        }
    }
    assert_eq!(names, ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7"]);
}

#[tokio::test]
async fn much_text_is_split_into_row_groups_and_statements_that_memory_holds() {
    let place = Place::new().await;
    let text = "x".repeat(64 << 10);
    let devices: Vec<String> = (0..1_100).map(|number| format!("d{number:04}")).collect();
    for (seq, device) in (0..).zip(&devices) {
        place.push(device, "k", 1, ValueRef::Text(&text), seq);
    }
    place.flush().await;
    for device in [&devices[0], &devices[1_023], &devices[1_099]] {
        let answer = place.range(device, &all()).await;
        assert_eq!(answer.series[&key("k")][0].value, Value::Text(text.as_str().into()), "{device}");
        let latest = place.store.latest(SHARD, &tenant("t"), &id(device)).await.unwrap();
        assert_eq!(latest[&key("k")].value, Value::Text(text.as_str().into()), "{device}");
    }
    place.push(&devices[1_099], "k", 2, ValueRef::Number(2.0), 2_000);
    place.flush().await;
    let mut listed: Vec<(DeviceId, NumberedSamples)> = Vec::new();
    loop {
        let after = listed.last().map(|(device, _)| device.to_string());
        let page = place.store.list_latest(&tenant("t"), after.as_deref(), 9_999).await.unwrap();
        assert!(page.devices.len() < 300, "{}", page.devices.len());
        listed.extend(page.devices);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(listed.len(), 1_100);
    assert_eq!(listed[1_099].1[0].1.value, Value::Number(2.0));
}

#[tokio::test]
async fn a_device_keeps_within_its_bounds_over_flushes_and_starts() {
    let mut place = Place::new().await;
    let admit = |place: &Place, keys: std::ops::Range<usize>, seq: u64| {
        let names: Vec<String> = keys.map(|key| format!("k{key}")).collect();
        place.store.apply(SHARD, |head| {
            let value = ValueRef::Number(1.0);
            let points = names.iter().map(|name| (name.as_str(), Timestamp::from_micros(1), value));
            let slot = head.admit("t", "d", points.clone())?;
            points.for_each(|(key, ts, value)| head.push(slot, key, ts, value, seq, Flags::NONE));
            Ok(())
        })
    };
    for (turn, keys) in (0..).zip([0..300, 300..5_000, 0..5_000, 5_000..9_999, 0..10_000, 0..10_000]) {
        assert_eq!(admit(&place, keys, turn), Ok(()), "turn {turn}");
        if turn % 2 == 1 {
            place.flush().await;
        }
        if turn == 3 {
            place.reopen().await;
        }
        assert_eq!(admit(&place, 0..10_001, turn), Err(OverBounds::Keys), "turn {turn}");
    }
    assert_eq!(place.store.latest(SHARD, &tenant("t"), &id("d")).await.unwrap().len(), 10_000);
}
