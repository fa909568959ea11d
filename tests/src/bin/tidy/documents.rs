//! Documents: every relative link leads to a file.

use crate::Violation;

/// Checks the links of one Markdown file; `exists` is asked with paths from the root of the repository.
pub fn check(file: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
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
    }
    violations
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
        let violations = check("README.md", text, |path| path == "crates/a.rs");
        assert_eq!(violations.len(), 1);
        assert!(violations[0].to_string().starts_with("README.md:3: link to crates/b.rs"));
    }

    #[test]
    fn links_start_at_the_folder_of_their_document() {
        assert_eq!(resolve("docs/decisions", "../../crates/./x.rs"), "crates/x.rs");
        assert_eq!(resolve("docs", "/LICENSE"), "LICENSE");
    }

    #[test]
    fn outside_links_anchors_and_code_are_left_alone() {
        let text = "[a](https://example.org/x) [b](#here) [c](mailto:a@b.c)\n```\n[d](nowhere)\n```\n";
        assert_eq!(check("README.md", text, |_| false), Vec::new());
    }
}
