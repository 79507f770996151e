#!/usr/bin/env bash
# Builds the image of a run: helm-agent:<hash of everything it is made from>, also tagged helm-agent:latest.
#
# `build.sh --name` only prints the name; `build.sh --base` prepares the base and prints its name on the last line.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../.ci/lib.sh
. "$HERE/../.ci/lib.sh"

BASE_IMAGE=debian:bookworm-slim
BASE_PYTHON=3.11
# What runs inside, next to relay.py and runner.py: every module here except the tool that makes the profile.
cd "$HERE"
mapfile -t MODULES < <(printf '%s\n' ./*.py | sed 's,^\./,,' | grep -vx make_seccomp.py)
SOURCES=(Dockerfile build.sh managed-settings.json requirements.lock relay.py runner.py "${MODULES[@]}")

for file in "${SOURCES[@]}"; do
    [ -f "$file" ] || fail "agent_image/$file is missing" "restore it: git checkout agent_image/$file"
done
NAME="helm-agent:$(printf '%s\n' "${HELM_BASE:-}" "${SOURCES[@]}" | digest - "${SOURCES[@]}")"

has() { engine image inspect "$1" >/dev/null 2>&1; }

# The named base, the distribution's image where it is here or can be fetched, or one from the distribution's packages.
choose_base() {
    local own
    own="helm-base:$(digest base.sh /etc/os-release)"
    if [ -n "${HELM_BASE:-}" ]; then
        has "$HELM_BASE" || ENGINE_LIMIT=300 quietly "docker pull $HELM_BASE" engine pull "$HELM_BASE" ||
            fail "the base HELM_BASE=$HELM_BASE is not here and cannot be fetched" "name another one, or unset HELM_BASE"
        BASE="$HELM_BASE"
    elif has "$BASE_IMAGE"; then
        BASE="$BASE_IMAGE"
    elif has "$own"; then
        BASE="$own"
    elif printf '\n== docker pull %s\n' "$BASE_IMAGE" >>"$LOG" && ENGINE_LIMIT=90 engine pull "$BASE_IMAGE" >>"$LOG" 2>&1; then
        BASE="$BASE_IMAGE"
    else
        say "      no image registry can be reached; making a base from the distribution's packages"
        ./base.sh "$own"
        BASE="$own"
    fi
}

# The SDK with its own CLI, for the Python of the base. Fetched once per lock; the CLI can be executed there and not read.
fill_context() {
    local python="$1" staging="$CONTEXT.$$"
    rm -rf "$CACHE"/context-* "$staging"
    mkdir -p "$staging"
    quietly "agent SDK" "$ROOT/.venv/bin/python" -m pip install --no-compile --target "$staging/site" --require-hashes \
        --only-binary=:all: --python-version "$python" -r requirements.lock ||
        fail "the agent SDK could not be fetched" "check pip's configuration (pip config list) and the network"
    chmod 0711 "$staging/site/claude_agent_sdk/_bundled/claude"
    mv "$staging" "$CONTEXT"
}

build() {
    local python network=default
    python=$(engine run --rm --network none --entrypoint python3 "$BASE" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
        2>/dev/null) || python="$BASE_PYTHON"
    # A base of ours holds every package, so that its build is shown to need no network.
    case "$BASE" in helm-base:*) network=none ;; esac
    CONTEXT="$CACHE/context-$(printf '%s %s\n' "$python" "$(uname -m)" | digest - requirements.lock)"
    [ -d "$CONTEXT/site" ] || fill_context "$python"
    rm -rf "$CONTEXT/files"
    mkdir -p "$CONTEXT/files/opt/helm" "$CONTEXT/files/etc/claude-code"
    cp Dockerfile "$CONTEXT/"
    install -m 0644 managed-settings.json "$CONTEXT/files/etc/claude-code/"
    install -m 0644 "${MODULES[@]}" "$CONTEXT/files/opt/helm/"
    quietly "docker build" engine build --network "$network" --build-arg "BASE=$BASE" -t "$NAME" "$CONTEXT" ||
        fail "the agent image could not be built on $BASE"
    quietly "trial of the agent image" engine run --rm --network none --read-only --cap-drop ALL \
        --security-opt no-new-privileges --security-opt "seccomp=$HERE/seccomp.json" --tmpfs /tmp --entrypoint sh "$NAME" -c \
        '/opt/helm/venv/bin/python3 -I -c "import claude_agent_sdk" && /opt/helm/site/claude_agent_sdk/_bundled/claude --version' ||
        fail "the agent image was built on $BASE but does not run" "see the log"
    engine tag "$NAME" helm-agent:latest
}

case "${1:-}" in
    --name) printf '%s\n' "$NAME" ;;
    --base)
        choose_base
        printf '%s\n' "$BASE"
        ;;
    *)
        choose_base
        build
        ;;
esac
