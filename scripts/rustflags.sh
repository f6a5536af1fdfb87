# Sourced by the scripts that build with flags of the compiler.

# Builds target/release/mainstay with these flags and those of the user: `release_with FLAG... -- [cargo flags...]`. Cargo takes flags
# from one place only: from the environment if there are any, from its configuration if not (of which `build.rustflags` has no say here).
release_with() {
  local flags=() table
  while [ "$1" != -- ]; do
    flags+=("$1")
    shift
  done
  shift
  if [ -n "${CARGO_ENCODED_RUSTFLAGS+set}" ]; then
    local IFS=$'\x1f'
    CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS:+$CARGO_ENCODED_RUSTFLAGS$IFS}${flags[*]}
    export CARGO_ENCODED_RUSTFLAGS
  elif [ -n "${RUSTFLAGS+set}" ]; then
    local own
    read -ra own <<<"$RUSTFLAGS"
    local IFS=$'\x1f'
    CARGO_ENCODED_RUSTFLAGS=${own[*]}${own[0]:+$IFS}${flags[*]}
    export CARGO_ENCODED_RUSTFLAGS
  elif [ ${#flags[@]} -gt 0 ]; then
    flags=("${flags[@]//\\/\\\\}")
    table=$(printf '"%s", ' "${flags[@]//\"/\\\"}")
    set -- --config "target.'cfg(all())'.rustflags = [$table]" "$@"
  fi
  CARGO_TARGET_DIR=target cargo build --release --locked -p mainstay "$@"
}
