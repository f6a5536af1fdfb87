#!/usr/bin/env bash
# Measures the API server of a release build on this machine and prints a table: `bench.sh [BINARY] [bench flags...]`.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-target/release/mainstay}
shift || true
root=$(mktemp -d)
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -rf "$root"' EXIT

mkfifo "$root/log"
started=$(date +%s%N)
"$binary" server --roles api --root "$root" --bind-address 127.0.0.1 --secure-port 0 2>"$root/log" &
server=$!
exec 3<"$root/log"
while read -r line <&3; do case $line in *"the API is ready"*) break ;; mainstay:*) echo "$line" >&2; exit 1 ;; esac; done
ready=$(date +%s%N)
cat <&3 >/dev/null &

echo "API ready after $(((ready - started) / 1000000)) ms"
"$binary" bench api --kubeconfig "$root/etc/kubernetes/admin.conf" --pids "$server" "$@" | tee "$root/lines.json" |
  python3 -c '
import json, sys
columns = ["op", "count", "per_second", "p50_ms", "p99_ms", "server_cpu_ms_per_op", "server_rss_mb", "errors"]
print(" ".join(f"{c:>20}" for c in columns))
for line in sys.stdin:
    row = json.loads(line)
    print(" ".join(f"{str(row.get(c, chr(45))):>20}" for c in columns), flush=True)
'
