#!/usr/bin/env bash
# Formatting, lints, house rules, licences and sources of dependencies. Any finding fails.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== format"; cargo fmt --all --check
echo "== clippy"; cargo clippy --workspace --all-targets --locked -- -D warnings
echo "== house rules"; cargo run -q --locked -p xtask -- tidy
echo "== dependencies"
command -v cargo-deny >/dev/null || cargo install -q --locked cargo-deny --version "$(cat scripts/cargo-deny-version)"
# The advisory database is not on a package registry; `cargo deny check advisories` is for machines that reach it.
cargo deny --locked check bans licenses sources
