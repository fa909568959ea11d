//! Answers that end by number or by bytes, and go on.

use super::*;

/// Every sample over all pages, and the number of the pages. No sample comes twice.
async fn read(place: &Place, query: RangeQuery) -> (BTreeMap<TelemetryKey, Vec<Sample>>, usize) {
    let (mut series, mut query) = (BTreeMap::<TelemetryKey, Vec<Sample>>::new(), query);
    for pages in 1.. {
        let answer = place.range("d", &query).await;
        let bytes = answer.series.values().flatten().map(|sample| 40 + text(sample).len());
        assert!(bytes.sum::<usize>() <= 4_160_000, "page {pages}");
        for (key, mut older) in answer.series {
            older.append(series.entry(key.clone()).or_default());
            series.insert(key, older);
        }
        let Some(next) = answer.next else { return (series, pages) };
        let token = next.encode();
        assert!(token.len() < 6_000, "{}", token.len());
        query.resume = Cursor::decode(&token);
        assert_eq!(query.resume, Some(next));
    }
    unreachable!("the pages have no end")
}

fn text(sample: &Sample) -> &str {
    if let Value::Text(text) = &sample.value { text } else { "" }
}

#[tokio::test]
async fn pages_bring_every_sample_once_whether_in_memory_or_in_files() {
    let place = Place::new().await;
    // Several in one millisecond, and keys that have their samples at different times.
    for number in 0..60 {
        place.push("d", "often", 1_000 + number, ValueRef::Number(0.0), 1);
        if number % 7 == 0 {
            place.push("d", "seldom", number * 1_000, ValueRef::Bool(true), 1);
        }
        if number % 20 == 19 {
            place.flush().await;
        }
    }
    place.push("d", "once", 5, ValueRef::Text("x"), 1);
    for (limit, keys, pages) in
        [(60, vec![], 1), (59, vec![], 2), (10, vec![], 6), (20, vec![key("often")], 3)]
    {
        let (series, read) = read(&place, RangeQuery { limit, keys: keys.clone(), ..all() }).await;
        assert_eq!(read, pages, "{limit}");
        let counts: Vec<_> = series.iter().map(|(key, samples)| (key.as_str(), samples.len())).collect();
        let every = [("often", 60), ("once", 1), ("seldom", 9)];
        assert_eq!(counts, if keys.is_empty() { &every[..] } else { &every[..1] });
        assert!(series.values().all(|samples| samples.is_sorted_by_key(|sample| sample.ts)));
    }
}

#[tokio::test]
async fn what_comes_meanwhile_moves_no_page() {
    let place = Place::new().await;
    (0..10).for_each(|ts| place.number("d", ts, 0.0));
    let first = place.range("d", &RangeQuery { limit: 4, ..all() }).await;
    assert_eq!(numbers(&first, "k").first().unwrap().0, 6);
    (10..20).for_each(|ts| place.number("d", ts, 0.0));
    let second = place.range("d", &RangeQuery { limit: 4, resume: first.next, ..all() }).await;
    assert_eq!(numbers(&second, "k").iter().map(|(ts, _)| *ts).collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[tokio::test]
async fn long_texts_end_a_page_before_their_number_does() {
    let place = Place::new().await;
    let long = "x".repeat(60_000);
    for ts in 0..300 {
        place.push("d", "text", ts, ValueRef::Text(&long), 1);
        place.push("d", "number", ts, ValueRef::Number(1.0), 1);
        if ts == 150 {
            place.flush().await;
        }
    }
    let (series, pages) = read(&place, all()).await;
    assert_eq!(series.values().map(Vec::len).collect::<Vec<_>>(), [300, 300]);
    assert!((4..=8).contains(&pages), "{pages}");
    let last = RangeQuery {
        interval: Some(Duration::from_micros(2)),
        aggregation: Some(Aggregation::Last),
        ..all()
    };
    let (series, pages) = read(&place, last).await;
    assert_eq!(series.values().map(Vec::len).collect::<Vec<_>>(), [150, 150]);
    assert!((2..=5).contains(&pages), "{pages}");
}

#[tokio::test]
async fn keys_that_an_answer_has_no_room_for_come_on_the_next_page() {
    let place = Place::new().await;
    let long = "x".repeat(60_000);
    for number in 0..300 {
        place.push("d", &format!("text-{number:03}"), 1, ValueRef::Text(&long), 1);
    }
    let (series, pages) = read(&place, all()).await;
    assert_eq!(series.len(), 300);
    assert!((2..=6).contains(&pages), "{pages}");
    // The names of keys that have more fill a cursor.
    let place = Place::new().await;
    for number in 0..400 {
        for ts in 0..3 {
            place.push("d", &format!("{number:0>60}"), ts, ValueRef::Number(1.0), 1);
        }
    }
    let (series, pages) = read(&place, RangeQuery { limit: 1, ..all() }).await;
    assert_eq!((series.len(), series.values().map(Vec::len).sum::<usize>()), (400, 1_200));
    assert!(pages < 40, "{pages}");
}

#[tokio::test]
async fn intervals_go_on_as_points_do() {
    let place = Place::new().await;
    for ts in 0..100 {
        place.number("d", ts, 1.0);
    }
    place.flush().await;
    let count = RangeQuery {
        interval: Some(Duration::from_micros(3)),
        aggregation: Some(Aggregation::Count),
        limit: 10,
        ..all()
    };
    let (series, pages) = read(&place, count).await;
    let total: f64 =
        series["k"].iter().map(|sample| if let Value::Number(n) = sample.value { n } else { 0.0 }).sum();
    assert_eq!((series["k"].len(), total, pages), (34, 100.0, 4));
}
