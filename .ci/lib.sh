# shellcheck shell=bash
# Shared by the scripts of the set-up: where things go, progress lines, packages of the distribution.
# Sourced with bash and `set -euo pipefail`; never run alone.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/helm"
LOG="${HELM_SETUP_LOG:-$CACHE/setup.log}"
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH PIP_DISABLE_PIP_VERSION_CHECK=1
export HELM_SETUP_LOG="$LOG"
umask 022
mkdir -p "$CACHE"

# Root or sudo, once: empty when we are root.
SUDO=()
[ "$(id -u)" = 0 ] || SUDO=(sudo)

say() { printf '%s\n' "$*"; }

# fail MESSAGE...: one line per argument, the last ones say what to do.
fail() {
    printf 'helm: %s\n' "$1" >&2
    shift
    [ $# = 0 ] || printf '      %s\n' "$@" >&2
    exit 1
}

# quietly LABEL COMMAND...: run with its output in the log, a sign of life every 10 s, and the log's end when it fails.
quietly() {
    local label="$1" begin=$SECONDS pid rc=0
    shift
    printf '\n== %s\n' "$label" >>"$LOG"
    "$@" >>"$LOG" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
        if [ $((SECONDS - begin)) -ge "${next_sign:=10}" ]; then
            say "      $label: $((SECONDS - begin)) s ..."
            next_sign=$((next_sign + 10))
        fi
    done
    unset next_sign
    wait "$pid" || rc=$?
    if [ "$rc" != 0 ]; then
        tail -n 15 "$LOG" | sed 's/^/      | /' >&2
        printf '      the whole log: %s\n' "$LOG" >&2
    fi
    return "$rc"
}

digest() { cat "$@" | sha256sum | cut -c1-16; }

# missing_packages NAME...: those of the named packages that are not installed.
missing_packages() {
    local name
    for name in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || printf '%s\n' "$name"
    done
}

# install_packages NAME...: from the distribution; updates the lists first, since it is called only when something is missing.
install_packages() {
    command -v apt-get >/dev/null || fail "this machine has no apt-get, and these are missing: $*" \
        "install them with the machine's own package tool and run the same command again"
    if [ ${#SUDO[@]} != 0 ] && ! command -v sudo >/dev/null; then
        fail "these packages are missing, and installing them needs root: $*" \
            "as root: apt-get update && apt-get install -y --no-install-recommends $*" "then run the same command again"
    fi
    [ ${#SUDO[@]} = 0 ] || sudo -v || fail "sudo was refused; these packages are missing: $*" \
        "as root: apt-get update && apt-get install -y --no-install-recommends $*"
    local apt=("${SUDO[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    quietly "apt-get update" "${apt[@]}" update ||
        fail "apt-get update failed" "repair the package sources of this machine (/etc/apt), then run the same command again"
    keep_certificates
    quietly "apt-get install $*" "${apt[@]}" install -y --no-install-recommends "$@" ||
        fail "apt-get could not install: $*" "see the log, then run the same command again"
    restore_certificates
}

# A bundle that somebody put there before the package ca-certificates came would be overwritten by that package's first
# installation, and with it the trust in the mirror of this network.
BUNDLE=/etc/ssl/certs/ca-certificates.crt
keep_certificates() {
    KEPT_BUNDLE=
    if [ -f "$BUNDLE" ] && [ -n "$(missing_packages ca-certificates)" ]; then
        KEPT_BUNDLE="$CACHE/ca-certificates.kept"
        cp -f "$BUNDLE" "$KEPT_BUNDLE"
    fi
}

restore_certificates() {
    [ -n "$KEPT_BUNDLE" ] || return 0
    cmp -s "$KEPT_BUNDLE" "$BUNDLE" || "${SUDO[@]}" cp -f "$KEPT_BUNDLE" "$BUNDLE"
    rm -f "$KEPT_BUNDLE"
}

# Members of the group docker whose shell is older than their membership go through sg.
if [ "$(id -u)" != 0 ] && command -v docker >/dev/null && ! id -nG | tr ' ' '\n' | grep -qx docker &&
    id -nG "$(id -un)" | tr ' ' '\n' | grep -qx docker; then
    export HELM_VIA_GROUP=1
fi

# engine ARGUMENTS...: the docker command as our own user, for at most ENGINE_LIMIT seconds when that is set.
engine() {
    if [ "${HELM_VIA_GROUP:-}" = 1 ]; then
        ${ENGINE_LIMIT:+timeout "$ENGINE_LIMIT"} sg docker -c "$(printf '%q ' docker "$@")"
    else
        ${ENGINE_LIMIT:+timeout "$ENGINE_LIMIT"} docker "$@"
    fi
}
