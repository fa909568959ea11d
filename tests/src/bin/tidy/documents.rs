//! Documents: every relative link leads to a file, and every test that is named is there.

use crate::Violation;

/// Checks one Markdown file. `exists` is asked with paths from the root of the repository, `has_function` with the end of a path and the
/// name of a function.
pub fn check(
    file: &str,
    text: &str,
    exists: impl Fn(&str) -> bool,
    has_function: impl Fn(&str, &str) -> bool,
) -> Vec<Violation> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut violations = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for target in targets(line) {
            let path = resolve(folder, target);
            if !exists(&path) {
                violations.push(Violation::new(
                    file,
                    index + 1,
                    format!("link to {target}, which is not there: mend it or drop it"),
                ));
            }
        }
        for (path, function) in functions(line) {
            if !has_function(path, function) {
                violations.push(Violation::new(
                    file,
                    index + 1,
                    format!("{path} has no function {function}: mend the name or drop it"),
                ));
            }
        }
    }
    violations
}

/// What is named as `` `file.rs::function` `` in a line.
fn functions(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|code| {
        let (path, function) = code.split_once("::")?;
        path.ends_with(".rs").then_some((path, function))
    })
}

/// The relative targets of `[text](target)` in a line, without their anchors.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ', '#']).next()?;
        let is_relative = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
        is_relative.then_some(target)
    })
}

fn resolve(folder: &str, target: &str) -> String {
    let mut path: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(path.pop()),
            name => path.push(name),
        }
    }
    path.retain(|part| !part.is_empty());
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_into_nowhere_is_told_with_its_line() {
        let text = "[a](crates/a.rs)\n\nand [b](crates/b.rs#L3).\n";
        let violations = check("README.md", text, |path| path == "crates/a.rs", |_, _| true);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].to_string().starts_with("README.md:3: link to crates/b.rs"));
    }

    #[test]
    fn a_function_that_is_not_there_is_told_with_its_file() {
        let text = "| 1 | `Vec::new` `a/b.rs::is`, `a/b.rs::is_not` |\n";
        let has_function = |path: &str, function: &str| (path, function) == ("a/b.rs", "is");
        let violations = check("docs/x.md", text, |_| true, has_function);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].to_string().starts_with("docs/x.md:1: a/b.rs has no function is_not"));
    }

    #[test]
    fn links_start_at_the_folder_of_their_document() {
        assert_eq!(resolve("docs/decisions", "../../crates/./x.rs"), "crates/x.rs");
        assert_eq!(resolve("docs", "/LICENSE"), "LICENSE");
    }

    #[test]
    fn outside_links_anchors_and_code_are_left_alone() {
        let text = "[a](https://example.org/x) [b](#here) [c](mailto:a@b.c)\n```\n[d](nowhere)\n```\n";
        assert_eq!(check("README.md", text, |_| false, |_, _| false), Vec::new());
    }
}
