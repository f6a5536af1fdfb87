//! Takes what is said of the API's types out of the sources of the `k8s-openapi` crate, for OpenAPI documents and Table
//! columns: the sentences are upstream's, so they are not kept here.
//!
//! Writes `descriptions.zz`, all of them, compressed, and `columns.txt`, those that a column names.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Where the crate keeps the types of the version that we serve.
const SOURCES: &str = "src/v1_30";

/// Text by type and field; a type's own has no field.
type Descriptions = BTreeMap<(String, String), String>;

fn main() {
    for path in ["build.rs", "data/resources.txt", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let mut all = Descriptions::new();
    let sources = k8s_openapi().join(SOURCES);
    read_folder(&sources, &mut all);
    assert!(all.len() > 1000, "{} says little of the API's types: {}", sources.display(), all.len());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("descriptions.zz"), pack(&all)).expect("OUT_DIR can be written");
    fs::write(out.join("columns.txt"), columns(&all)).expect("OUT_DIR can be written");
}

/// The folder of the crate: where cargo unpacks what comes from a registry, or wherever cargo says it is, which takes
/// longer and fetches whatever else the workspace names.
fn k8s_openapi() -> PathBuf {
    let lock = fs::read_to_string("../../Cargo.lock").expect("the workspace has a lock file");
    let version = lock
        .split_once("name = \"k8s-openapi\"\nversion = \"")
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("the workspace depends on k8s-openapi");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let unpacked = registries.into_iter().flatten().flatten().map(|r| r.path().join(format!("k8s-openapi-{version}")));
    unpacked.into_iter().find(|folder| folder.join(SOURCES).is_dir()).unwrap_or_else(ask_cargo)
}

fn ask_cargo() -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform"]);
    cargo.arg(env::var_os("TARGET").expect("cargo sets TARGET"));
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let manifest = text
        .split("{\"name\":\"k8s-openapi\",\"version\":")
        .nth(1)
        .and_then(|package| package.split("\"manifest_path\":\"").nth(1)?.split('"').next())
        .expect("cargo knows where the crate is");
    PathBuf::from(manifest).parent().expect("a manifest is in a folder").to_owned()
}

fn read_folder(folder: &Path, all: &mut Descriptions) {
    for entry in fs::read_dir(folder).expect("the crate's sources can be read") {
        let path = entry.expect("the crate's sources can be read").path();
        if path.is_dir() {
            read_folder(&path, all);
        } else {
            read(&fs::read_to_string(&path).expect("a source file is text"), all);
        }
    }
}

/// Reads the JSON schemas in a source file, which a generator has laid out: a type's description is indented by three
/// steps, the name of a property by four, its description by five.
fn read(source: &str, all: &mut Descriptions) {
    let (mut ty, mut field) = ("", "");
    for line in source.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let named = text.strip_prefix('"').and_then(|t| t.split_once('"'));
        match (indent, named) {
            (8, Some((name, ".into()"))) => (ty, field) = (name, ""),
            (16, Some((name, after))) if after.starts_with(": ") => field = name,
            (12 | 20, _) => {
                let said = text
                    .strip_prefix("\"description\": ")
                    .or_else(|| text.strip_prefix("schema_obj.ensure_object().insert(\"description\".into(), "));
                if let Some(said) = said {
                    let field = if indent == 12 { "" } else { field };
                    all.insert((ty.to_owned(), field.to_owned()), literal(said));
                }
            }
            _ => {}
        }
    }
}

/// The text of a string literal at the start of `source`.
fn literal(source: &str) -> String {
    let mut out = String::new();
    let mut chars = source.strip_prefix('"').expect("a description is a literal").chars();
    loop {
        match chars.next().expect("a literal ends on its line") {
            '"' => return out,
            '\\' => match chars.next().expect("an escape goes on") {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'u' => {
                    let code: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    let code = u32::from_str_radix(&code, 16).expect("a hexadecimal number");
                    out.push(char::from_u32(code).expect("a character"));
                }
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}

/// `TYPE TAB FIELD TAB TEXT NUL`, compressed.
fn pack(all: &Descriptions) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
    for ((ty, field), text) in all {
        assert!(!text.contains('\0'), "{ty} {field}");
        write!(out, "{ty}\t{field}\t{text}\0").expect("memory can be written");
    }
    out.finish().expect("memory can be written")
}

/// `TYPE.FIELD TAB TEXT NUL`, for each field that a column names, with types as they are called in `data`.
fn columns(all: &Descriptions) -> String {
    let resources = fs::read_to_string("data/resources.txt").expect("the table is there");
    let mut names: Vec<&str> = resources
        .lines()
        .filter_map(|l| l.strip_prefix(" col ")?.split('|').nth(4))
        .filter(|n| !n.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    let line = |name: &str| {
        let (ty, field) = name.rsplit_once('.').expect("a type and a field");
        let full = match ty.strip_prefix("meta.") {
            Some(rest) => format!("io.k8s.apimachinery.pkg.apis.meta.{rest}"),
            None => format!("io.k8s.api.{ty}"),
        };
        let text = all.get(&(full, field.to_owned())).unwrap_or_else(|| panic!("nothing is said of {name}"));
        format!("{name}\t{text}\0")
    };
    names.into_iter().map(line).collect()
}
