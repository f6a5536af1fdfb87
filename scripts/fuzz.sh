#!/usr/bin/env bash
# Fuzzes the parsers of untrusted input, one target after the other; see docs/fuzzing.md.
#   scripts/fuzz.sh [TARGET...]     all targets if none is named
# FUZZ_RUNS     inputs for each target (default 100000)
# FUZZ_SECONDS  longest that one target may take (default 60)
# FUZZ_MINIMIZE set: put what was learned into the corpus of the repository, as few and as short inputs as say the same
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || cargo install -q --locked cargo-fuzz --version "$(cat scripts/cargo-fuzz-version)"

# The compiler of the project is a stable one; the coverage that libFuzzer needs is not stable.
export RUSTC_BOOTSTRAP=1
# All of our code is safe, so a sanitizer would find nothing; overflows and assertions are checked.
flags=(-s none -O -a --target-dir target/fuzz)
# An input may not take longer than this many seconds, nor more memory than this many megabytes, nor more stack than a
# thread has that serves requests.
limits=(-timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=512)
stack_kib=2048
# Bytes of an input that is added to the repository's corpus.
kept_bytes_max=1000
# Inputs that a run may add to it for one target.
kept_inputs_max=24

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
bin=target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release
failed=()
for target in "${targets[@]}"; do
  echo "== $target"
  nice -n 19 cargo fuzz build "${flags[@]}" "$target" 2>/dev/null || nice -n 19 cargo fuzz build "${flags[@]}" "$target"
  learned=target/fuzz/corpus/$target found=target/fuzz/found/$target
  mkdir -p "$learned" "$found" "fuzz/corpus/$target"
  args=("${limits[@]}" -dict=fuzz/dictionary -max_len=4096 -artifact_prefix="$found/" -print_final_stats=1 -verbosity=0
    -runs="${FUZZ_RUNS:-100000}" -max_total_time="${FUZZ_SECONDS:-60}")
  (ulimit -s $stack_kib && nice -n 19 "$bin/$target" "${args[@]}" "$learned" "fuzz/corpus/$target") || failed+=("$target")
  if [ -n "${FUZZ_MINIMIZE:-}" ]; then
    fresh=$(mktemp -d)
    find "$learned" -type f -size +"${kept_bytes_max}c" -delete
    nice -n 19 "$bin/$target" -merge=1 "${limits[@]}" "$fresh" "fuzz/corpus/$target" "$learned"
    # The shortest of those that say something new.
    find "$fresh" -type f -size -"${kept_bytes_max}c" -printf '%s %p\n' | sort -n | head -n "$kept_inputs_max" |
      while read -r _ file; do
        cmp -s "$file" "fuzz/corpus/$target/$(basename "$file")" || cp "$file" "fuzz/corpus/$target/$(basename "$file" | cut -c1-12)"
      done
    rm -r "$fresh"
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "mainstay: findings in ${failed[*]}; the inputs are in target/fuzz/found" >&2
  exit 1
fi
