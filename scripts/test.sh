#!/usr/bin/env bash
# All checks and all tests. Needs root for containers and networks; the tests make namespaces of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "mainstay: the tests start containers and networks and so need root; run: sudo -E make test" >&2
  exit 1
fi
scripts/lint.sh
echo "== build"
cargo build --locked --workspace --all-targets
echo "== test"
cargo test --locked --workspace
