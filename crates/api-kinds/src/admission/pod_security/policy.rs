//! What a namespace's labels ask for: a level and a version each for enforcing, auditing and warning.

use api_core::field::{Errors, Path};
use serde_json::Value;
use std::fmt;

/// How much a pod may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Privileged,
    /// No known privilege escalation.
    Baseline,
    /// Hardened.
    Restricted,
}

/// Newest minor version that checks know.
const NEWEST: u32 = 30;

/// Which version's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Those of this server.
    Latest,
    /// Those of `v1.N`.
    Minor(u32),
}

impl Version {
    /// The minor version whose rules hold.
    pub fn minor(self) -> u32 {
        match self {
            Self::Latest => NEWEST,
            Self::Minor(minor) => minor.min(NEWEST),
        }
    }
}

/// A level and its version; printed `restricted:latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Pods that violate it are refused.
    pub enforce: LevelVersion,
    /// Violations are noted in the audit log.
    pub audit: LevelVersion,
    /// Violations are warned of.
    pub warn: LevelVersion,
}

impl Policy {
    /// Reads the labels of a namespace. What is malformed counts as the strictest, and is reported.
    pub fn of_namespace(namespace: &Value) -> (Self, Errors) {
        let labels = &namespace["metadata"]["labels"];
        let mut errors = Errors::new();
        if !labels.as_object().is_some_and(|labels| labels.keys().any(|name| name.starts_with(PREFIX))) {
            let privileged = LevelVersion { level: Level::Privileged, version: Version::Latest };
            return (Self { enforce: privileged, audit: privileged, warn: privileged }, errors);
        }
        let enforce = read(labels, "enforce", &mut errors);
        let audit = read(labels, "audit", &mut errors);
        let mut warn = read(labels, "warn", &mut errors);
        // Without a label of its own, warning follows enforcing that is asked for and stricter than nothing.
        let is_valid = labels[key("enforce")].as_str().is_some_and(|text| parse_level(text).is_some());
        if labels[key("warn")].is_null() && is_valid && enforce.level > warn.level {
            warn.level = enforce.level;
            if labels[key("warn-version")].is_null() {
                warn.version = enforce.version;
            }
        }
        (Self { enforce, audit, warn }, errors)
    }

    /// Whether nothing needs to be looked at.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|l| l.level == Level::Privileged)
    }
}

/// What the labels' names begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";

fn key(mode: &str) -> String {
    format!("{PREFIX}{mode}")
}

fn read(labels: &Value, mode: &str, errors: &mut Errors) -> LevelVersion {
    let metadata = Path::new("metadata");
    let path = metadata.child("labels");
    let level = match labels[key(mode)].as_str() {
        None => Level::Privileged,
        Some(text) => parse_level(text).unwrap_or_else(|| {
            errors.invalid(&path.key(&key(mode)), text, "must be one of privileged, baseline, restricted");
            // A wrong word must not open a namespace; for the other two modes it only would be noise.
            if mode == "enforce" { Level::Restricted } else { Level::Privileged }
        }),
    };
    let version_key = key(&format!("{mode}-version"));
    let version = match labels[&version_key].as_str() {
        None | Some("latest") => Version::Latest,
        Some(text) => parse_minor(text).unwrap_or_else(|| {
            errors.invalid(&path.key(&version_key), text, "must be \"latest\" or \"v1.x\"");
            Version::Latest
        }),
    };
    LevelVersion { level, version }
}

fn parse_level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn parse_minor(text: &str) -> Option<Version> {
    let digits = text.strip_prefix("v1.")?;
    let plain = !digits.is_empty() && (digits == "0" || !digits.starts_with('0'));
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    plain.then_some(Version::Minor(number))
}
