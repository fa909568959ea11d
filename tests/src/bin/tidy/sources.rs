//! Source files: header, size, names, and what must stand in none of them.

use crate::Violation;

/// The most lines of a Rust file, its tests not counted.
const MAX_LINES: usize = 500;
/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 7] = ["common", "util", "utils", "core", "helpers", "types", "misc"];
/// Written in halves, so that this file does not break its own rules.
const REGISTRY_HOSTS: [[&str; 2]; 7] = [
    ["index.crates", ".io"],
    ["static.crates", ".io"],
    ["pypi", ".org"],
    ["pythonhosted", ".org"],
    ["npmjs", ".org"],
    ["proxy.golang", ".org"],
    ["deb.debian", ".org"],
];
const HOMES: [[&str; 2]; 3] = [["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"]];
const PROMISES: [[&str; 2]; 3] = [["TO", "DO"], ["FIX", "ME"], ["X", "XX"]];

/// Checks what holds for every text file. The lock file is cargo's.
pub fn check_any(file: &str, text: &str) -> Vec<Violation> {
    if file == "Cargo.lock" || file.ends_with("/Cargo.lock") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut tell = |message: String| violations.push(Violation::new(file, index + 1, message));
        if let Some(host) =
            REGISTRY_HOSTS.iter().map(|halves| halves.concat()).find(|host| line.contains(host))
        {
            tell(format!("names the registry {host}: leave that to the tools' own settings"));
        }
        if let Some(home) = HOMES.iter().map(|halves| halves.concat()).find(|home| names_home(line, home)) {
            tell(format!("has a path below {home}: use one relative to the repository"));
        }
        if let Some(word) =
            PROMISES.iter().map(|halves| halves.concat()).find(|word| is_unnumbered(line, word))
        {
            tell(format!("{word} without an issue: write {word}(#number), or do it now"));
        }
    }
    violations
}

/// A home of someone, at the start of a path.
fn names_home(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before.is_some_and(|letter| letter.is_alphanumeric() || "/.~$}>*".contains(letter))
    })
}

/// The word stands alone and no `(#number)` follows.
fn is_unnumbered(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let rest = line.get(at + word.len()..).unwrap_or_default();
        let alone = !before.is_some_and(is_part) && !rest.chars().next().is_some_and(is_part);
        let number = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')')).map(|(number, _)| number);
        alone && !number.is_some_and(|number| number.parse::<u32>().is_ok())
    })
}

/// Checks what holds for Rust.
pub fn check_rust(file: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !text.starts_with("//!") {
        violations.push(Violation::new(
            file,
            1,
            "does not open with `//!`: say in 1 to 4 lines what lives here",
        ));
    }
    if let Some(name) = banned_name(file) {
        violations.push(Violation::new(file, 1, format!("`{name}` says nothing: name the concept")));
    }
    let lines = lines_without_tests(text);
    if !is_test(file) && lines > MAX_LINES {
        let message = format!("{lines} lines without tests, {MAX_LINES} are allowed: split it by subject");
        violations.push(Violation::new(file, MAX_LINES + 1, message));
    }
    violations
}

fn is_test(file: &str) -> bool {
    file.split('/').any(|part| part == "tests" || part == "tests.rs") && !file.starts_with("tests/src/")
}

fn banned_name(file: &str) -> Option<&str> {
    let parts = file.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    parts.into_iter().find(|part| BANNED_NAMES.contains(part))
}

/// Lines of a formatted file without its `#[cfg(test)] mod … { }` blocks.
fn lines_without_tests(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens =
            lines.peek().is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'));
        if line.trim_start() == "#[cfg(test)]" && opens {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            lines.by_ref().find(|line| *line == end);
        } else {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(violations: &[Violation]) -> Vec<usize> {
        violations.iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn tests_do_not_count_as_lines() {
        let text = "//! x\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        assert_eq!(lines_without_tests(text), 4);
        assert_eq!(lines_without_tests("//! x\n#[cfg(test)]\nmod tests;\n"), 3);
    }

    #[test]
    fn a_long_file_is_told_unless_it_is_a_test() {
        let text = format!("//! x\n{}", "// y\n".repeat(MAX_LINES));
        assert_eq!(told(&check_rust("crates/a/src/b.rs", &text)), [501]);
        assert_eq!(told(&check_rust("tests/src/bin/chaos/main.rs", &text)), [501]);
        assert_eq!(told(&check_rust("crates/a/src/b/tests.rs", &text)), Vec::<usize>::new());
        assert_eq!(told(&check_rust("tests/tests/b.rs", &text)), Vec::<usize>::new());
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(told(&check_rust("crates/a/src/b.rs", "use x;\n")), [1]);
    }

    #[test]
    fn a_name_that_says_nothing_is_told() {
        for file in ["crates/common/src/lib.rs", "crates/a/src/util.rs", "crates/a/src/helpers/b.rs"] {
            assert_eq!(told(&check_rust(file, "//! x\n")), [1], "{file}");
        }
        assert_eq!(told(&check_rust("crates/a/src/utility.rs", "//! x\n")), Vec::<usize>::new());
    }

    #[test]
    fn a_promise_needs_an_issue() {
        let word = PROMISES[0].concat();
        assert_eq!(
            told(&check_any("a.rs", &format!("// {word}: later\n// {word}(#12): then\n// {word}S_DONE\n"))),
            [1]
        );
        assert_eq!(told(&check_any("a.rs", &format!("// {word}(#soon)\n"))), [1]);
    }

    #[test]
    fn paths_of_a_machine_and_registries_are_told() {
        let home = HOMES[1].concat();
        let host = REGISTRY_HOSTS[2].concat();
        assert_eq!(
            told(&check_any("a.md", &format!("see {home}me/x\nnot crates{home}me\nfrom https://{host}/x\n"))),
            [1, 3]
        );
        assert_eq!(told(&check_any("Cargo.lock", &host)), Vec::<usize>::new());
    }
}
