//! House rules that the compiler does not know, as data and as a test.
//!
//! Layers come from `cargo metadata`; the other rules read the sources, which rustfmt has laid out. What breaks a
//! rule already stands in `tidy-ratchet.txt` with its size, and may only shrink.

use anyhow::{Context as _, Result, bail};
use regex::Regex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 800;
/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;

/// Each crate with those of ours that it may depend on; dev-dependencies are free.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("pki", &["base"]),
    ("telemetry", &["base"]),
    ("api-core", &["base"]),
    ("api-schema", &["base", "api-core"]),
    ("api-patch", &["base", "api-core", "api-schema"]),
    ("api-cel", &["base", "api-core"]),
    ("api-kinds", &["base", "api-core", "api-schema", "api-patch", "api-cel"]),
    ("store", &["base", "telemetry"]),
    ("flow", &[]),
    ("watch-cache", &["base", "telemetry", "store"]),
    (
        "apiserver",
        &[
            "base",
            "pki",
            "telemetry",
            "api-core",
            "api-schema",
            "api-patch",
            "api-cel",
            "api-kinds",
            "store",
            "flow",
            "watch-cache",
        ],
    ),
    ("client", &["base", "pki", "telemetry"]),
    ("controller-kit", &["base", "telemetry", "client"]),
    ("controllers", &["base", "pki", "telemetry", "api-core", "api-cel", "api-kinds", "client", "controller-kit"]),
    ("scheduler", &["base", "telemetry", "client", "controller-kit"]),
    ("node", &["base", "pki", "telemetry", "client"]),
    ("net", &["base", "telemetry", "client"]),
    ("testbed", &["base", "pki", "client"]),
    (
        "fuzzing",
        &["api-core", "api-schema", "api-patch", "api-cel", "api-kinds", "pki", "store", "apiserver", "node", "net"],
    ),
    ("xtask", &[]),
];

/// Crates of the server side that must not name a built-in kind in a string.
const KIND_FREE: &[&str] = &["api-core", "api-schema", "api-patch", "api-cel", "store", "watch-cache", "apiserver"];

/// One broken rule: which, where, and how badly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// `file-lines`, `function-lines`, `header`, `kind-name` or `layer`.
    pub rule: &'static str,
    /// File, with the function's name where it is about one.
    pub place: String,
    /// Its size in the rule's unit.
    pub size: usize,
}

/// Checks the tree at `root`; with `update`, shrinks the ratchet to what is found.
///
/// # Errors
/// Lists every finding that is new or has grown.
pub fn run(root: &Path, update: bool) -> Result<()> {
    let mut findings = layers(root)?;
    for file in sources(root)? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        findings.extend(check_file(&name, &text));
    }
    let ratchet_path = root.join("crates/xtask/tidy-ratchet.txt");
    let ratchet = parse_ratchet(&fs::read_to_string(&ratchet_path).unwrap_or_default())?;
    let worse = worse_than(&findings, &ratchet);
    if update {
        fs::write(&ratchet_path, print_ratchet(&findings)).context("cannot write the ratchet")?;
    }
    if worse.is_empty() || update {
        return Ok(());
    }
    bail!("{} places break the house rules:\n{}", worse.len(), worse.join("\n"))
}

fn worse_than(findings: &[Finding], ratchet: &BTreeMap<(String, String), usize>) -> Vec<String> {
    let allowed = |f: &Finding| ratchet.get(&(f.rule.to_owned(), f.place.clone())).copied().unwrap_or(0);
    findings
        .iter()
        .filter(|f| f.size > allowed(f))
        .map(|f| format!("{}: {} has {}, {} allowed", f.rule, f.place, f.size, allowed(f)))
        .collect()
}

fn layers(root: &Path) -> Result<Vec<Finding>> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata failed")?;
    let ours: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package.name.as_str()) else { continue };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let normal = dependency.kind == cargo_metadata::DependencyKind::Normal;
            if normal && ours.contains(&name) && !allowed.contains(&name) {
                findings.push(Finding { rule: "layer", place: format!("{} -> {name}", package.name), size: 1 });
            }
        }
    }
    Ok(findings)
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![root.join("crates")];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|n| n != "target") {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The findings of one source file.
pub fn check_file(name: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(Finding { rule: "file-lines", place: name.into(), size: lines });
    }
    if !text.trim_start().starts_with("//!") {
        findings.push(Finding { rule: "header", place: name.into(), size: 1 });
    }
    for (function, length) in functions(text) {
        if length > FUNCTION_LINES_MAX {
            findings.push(Finding { rule: "function-lines", place: format!("{name} {function}"), size: length });
        }
    }
    let in_kind_free = KIND_FREE.iter().any(|c| name.starts_with(&format!("crates/{c}/src/")));
    if in_kind_free && !name.ends_with("tests.rs") && !name.contains("/tests/") {
        let count = kind_names(text);
        if count > 0 {
            findings.push(Finding { rule: "kind-name", place: name.into(), size: count });
        }
    }
    findings
}

/// Functions of rustfmt's layout with their lengths in lines: from `fn` to the brace at the same indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let start = Regex::new(r"^(\s*)(?:pub(?:\([a-z ]+\))? )?(?:const |async |unsafe )*fn (\w+)").expect("a pattern");
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let Some(captures) = start.captures(line) else { continue };
        if line.ends_with(';') || line.ends_with('}') {
            continue;
        }
        let close = format!("{}}}", &captures[1]);
        if let Some(length) = lines[i..].iter().position(|l| *l == close) {
            found.push((captures[2].to_owned(), length + 1));
        }
    }
    found
}

/// How often a string literal outside of tests and comments is the name of a built-in kind.
fn kind_names(text: &str) -> usize {
    let kinds = "Pod|Node|Namespace|Service|Endpoints|Secret|ConfigMap|Deployment|ReplicaSet|StatefulSet|DaemonSet|Job|\
                 CronJob|Ingress|Event|Lease|PersistentVolume|PersistentVolumeClaim|CustomResourceDefinition|\
                 ServiceAccount|pods|nodes|services|endpoints|secrets|configmaps|deployments|jobs|events|leases";
    let pattern = Regex::new(&format!("\"(?:{kinds})\"")).expect("a pattern");
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    code.lines().filter(|l| !l.trim_start().starts_with("//")).map(|l| pattern.find_iter(l).count()).sum()
}

fn parse_ratchet(text: &str) -> Result<BTreeMap<(String, String), usize>> {
    text.lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|line| {
            let mut parts = line.split('\t');
            let (Some(rule), Some(place), Some(size)) = (parts.next(), parts.next(), parts.next()) else {
                bail!("not a line of the ratchet: {line:?}");
            };
            Ok(((rule.to_owned(), place.to_owned()), size.parse().context("a size")?))
        })
        .collect()
}

fn print_ratchet(findings: &[Finding]) -> String {
    let mut sorted = findings.to_vec();
    sorted.sort();
    let mut text = String::from("# Places that break a house rule: rule, place, size. A size may only shrink.\n");
    for f in sorted {
        writeln!(text, "{}\t{}\t{}", f.rule, f.place, f.size).expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_keeps_the_house_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
        if let Err(e) = run(&root, false) {
            panic!("{e:#}");
        }
    }

    #[test]
    fn a_long_function_and_a_missing_header_are_found() {
        let body = "    x();\n".repeat(80);
        let text = format!("fn long() {{\n{body}}}\n\nfn short() {{\n    x();\n}}\n");
        let found = check_file("crates/base/src/a.rs", &text);
        assert_eq!(found.iter().map(|f| (f.rule, f.size)).collect::<Vec<_>>(), [("header", 1), ("function-lines", 82)]);
    }

    #[test]
    fn a_kind_is_only_named_where_kinds_are_known() {
        let text = "//! x\nconst A: &str = \"Pod\";\n// \"Pod\"\n#[cfg(test)]\nmod tests { \"Pod\" }\n";
        assert_eq!(check_file("crates/apiserver/src/a.rs", text).len(), 1);
        assert!(check_file("crates/api-kinds/src/a.rs", text).is_empty());
    }

    #[test]
    fn what_stands_in_the_ratchet_may_shrink_but_not_grow() {
        let ratchet = parse_ratchet("file-lines\ta.rs\t900\n").expect("a ratchet");
        let finding = |size| [Finding { rule: "file-lines", place: "a.rs".into(), size }];
        assert!(worse_than(&finding(900), &ratchet).is_empty());
        assert_eq!(worse_than(&finding(901), &ratchet).len(), 1);
        assert!(parse_ratchet("nonsense").is_err());
    }
}
