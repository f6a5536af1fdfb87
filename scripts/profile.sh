#!/usr/bin/env bash
# Renews the profile by which release builds are optimised for this compiler: builds with counters, measures as `make bench` does,
# and keeps what was counted. Needs llvm-profdata of an LLVM that knows the compiler's format: Debian's llvm-19 does rustc 1.95's.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/rustflags.sh
tool=$(command -v llvm-profdata-{24..19} llvm-profdata | head -n 1) || true
if [ -z "$tool" ]; then
  echo "mainstay: llvm-profdata is needed; install llvm-19 or a newer one, then try again" >&2
  exit 1
fi
counted=$(mktemp -d)
trap 'rm -rf "$counted"' EXIT
profile=profile/$(rustc --version | awk '{print "rustc-" $2}').profdata

# What is built runs here.
unset CARGO_BUILD_TARGET
release_with "-Cprofile-generate=$counted" -- --target-dir target/profile
# What building has run is of no use.
find "$counted" -name '*.profraw' -delete
scripts/bench.sh target/profile/release/mainstay
"$tool" merge --sparse -o "$profile" "$counted"/*.profraw
ls -l "$profile"
