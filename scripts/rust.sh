#!/usr/bin/env bash
# Says what to do when the Rust toolchain is missing or too old; installs it where the distribution packages rustup.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

if ! command -v cargo >/dev/null && [ "$(id -u)" = 0 ] && apt-cache show rustup >/dev/null 2>&1; then
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends rustup
  # The newest that release builds have a profile for.
  rustup default "$(ls profile | sed -n 's/^rustc-\(.*\)\.profdata$/\1/p' | sort -V | tail -n 1)"
fi
if ! command -v cargo >/dev/null; then
  echo "mainstay: Rust $wanted or newer is needed to build; install it as https://rustup.rs says, then try again" >&2
  exit 1
fi
found=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
  echo "mainstay: Rust $wanted or newer is needed, but this is $found; run: rustup update stable" >&2
  exit 1
fi
