#!/usr/bin/env bash
# Installs Debian or Ubuntu packages: `packages.sh run` for building and running, `packages.sh test` for the tests too.
# Only what is missing is installed, so that a second call needs no network.
set -euo pipefail

needed=(build-essential ca-certificates protobuf-compiler libprotobuf-dev containerd runc containernetworking-plugins
        nftables iproute2 conntrack busybox-static kmod procps)
[ "${1:-run}" = test ] && needed+=(etcd-server etcd-client python3 python3-venv openssl util-linux curl)

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

# Another package may provide what one is for, such as Docker's containerd.io.
provided() {
  case $1 in
    containerd) command -v containerd >/dev/null ;;
    runc) command -v runc >/dev/null ;;
    containernetworking-plugins) [ -x /opt/cni/bin/ptp ] || [ -x /usr/lib/cni/ptp ] ;;
    *) installed "$1" ;;
  esac
}

missing=()
for package in "${needed[@]}"; do provided "$package" || missing+=("$package"); done

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "mainstay: this machine has no apt-get; install by hand: ${missing[*]}" >&2
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "mainstay: root is needed to install packages: ${missing[*]}" >&2
    exit 1
  fi
  echo "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # The distribution's own services are not needed, and must not be started: we run instances of our own.
  policy=/usr/sbin/policy-rc.d made_policy=
  if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made_policy=yes; fi
  trap '[ -z "$made_policy" ] || rm -f $policy' EXIT
  apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# kubectl is a convenience for users, and the tests need one; distributions name it differently.
if ! command -v kubectl >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  for package in kubectl kubernetes-client; do
    apt-get install -q -y --no-install-recommends "$package" >/dev/null 2>&1 && break
  done
  command -v kubectl >/dev/null || echo "mainstay: no package has kubectl here; see kubernetes.io/docs/tasks/tools" >&2
fi
