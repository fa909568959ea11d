//! The tree against a sorted map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Enough names for children in a row and in a table, and back.
fn paths() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        Just(String::new()),
        Just("a".to_owned()),
        Just("ä".to_owned()),
        (0..12u8).prop_map(|number| number.to_string()),
    ];
    prop::collection::vec(level, 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("no path", |p| !p.is_empty())
}

#[derive(Clone, Debug)]
enum Step {
    Set(String, u8),
    Take(String),
    /// Keeps values that are no multiples.
    Retain(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (paths(), any::<u8>()).prop_map(|(path, value)| Step::Set(path, value)),
        10 => paths().prop_map(Step::Take),
        1 => (1..4u8).prop_map(Step::Retain),
    ];
    prop::collection::vec(step, 0..150)
}

/// No node is there without need.
fn check(children: &Children<u8>, name: &str) {
    children.each(|node| {
        let mut count = 0;
        node.children.each(|_| count += 1);
        assert!(node.value.is_some() || count > 1, "{name}/{} leads nowhere else", &*node.label);
        assert_eq!(node.children.is_empty(), count == 0);
        check(&node.children, &node.label);
    });
}

proptest! {
    #[test]
    fn the_tree_keeps_what_a_map_keeps_and_no_more_nodes_than_it_needs(steps in steps(), others in prop::collection::vec(paths(), 5)) {
        let mut tree = Trie::default();
        let mut map = BTreeMap::new();
        for step in steps {
            match step {
                Step::Set(path, value) => prop_assert_eq!(tree.slot(&path).replace(value), map.insert(path, value)),
                Step::Take(path) => prop_assert_eq!(tree.change(&path, Option::take).flatten(), map.remove(&path)),
                Step::Retain(divisor) => {
                    map.retain(|_, value| *value % divisor != 0);
                    tree.retain(|_, value| *value % divisor != 0);
                }
            }
            check(&tree.children, "");
        }
        for path in map.keys().chain(&others) {
            prop_assert_eq!(tree.get(path), map.get(path), "{}", path);
        }
        let mut found = BTreeMap::new();
        tree.retain(|path, value| found.insert(path.to_owned(), *value).is_none());
        prop_assert_eq!(&found, &map);
        for path in map.into_keys() {
            tree.change(&path, Option::take);
        }
        prop_assert!(tree.is_empty());
    }
}

#[test]
fn hundreds_of_children_come_and_go() {
    let mut tree = Trie::default();
    for number in 0..1000 {
        *tree.slot(&format!("a/{number}/b")) = Some(number);
    }
    for number in 0..1000 {
        assert_eq!(tree.get(&format!("a/{number}/b")), Some(&number));
        assert_eq!(tree.change(&format!("a/{number}/b"), Option::take), Some(Some(number)));
        assert_eq!(tree.get(&format!("a/{number}/b")), None);
    }
    assert!(tree.is_empty());
}

#[test]
fn a_path_that_leads_only_part_of_the_way_has_no_value() {
    let mut tree = Trie::default();
    *tree.slot("a/b/c") = Some(1);
    for path in ["a", "a/b", "a/b/", "a/b/c/", "a/b/c/d", "/a/b/c", "a/b/cd", "A/b/c"] {
        assert_eq!(tree.get(path), None, "{path}");
        assert_eq!(tree.change(path, Option::take), None, "{path}");
    }
}

#[test]
fn a_node_takes_four_words_beside_its_value() {
    assert_eq!(size_of::<Node<Box<u8>>>(), 5 * size_of::<usize>());
}
