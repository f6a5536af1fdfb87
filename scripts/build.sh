#!/usr/bin/env bash
# Builds the release binary, optimised by the profile of what runs often if there is one for this compiler: `build.sh [cargo flags...]`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/rustflags.sh
profile=$PWD/profile/$(rustc --version | awk '{print "rustc-" $2}').profdata
if [ -f "$profile" ]; then
  # Code that has changed since is built as if there was no profile.
  release_with "-Cprofile-use=$profile" -Cllvm-args=-no-pgo-warn-mismatch -- "$@"
else
  echo "mainstay: no ${profile##*/} in profile/: the binary will take some more memory and time (docs/performance.md)" >&2
  release_with -- "$@"
fi
