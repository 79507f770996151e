#!/usr/bin/env bash
# Builds the images that docker-compose.yml names: helm-server:latest (server and door) and helm-caddy:latest.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../.ci/lib.sh
. "$HERE/../.ci/lib.sh"
cd "$ROOT"

BASE=$("$HERE/build.sh" --base | tail -n 1)
PYTHON=$(engine run --rm --network none --entrypoint python3 "$BASE" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
    2>/dev/null) || PYTHON=3.11
CONTEXT="$CACHE/server-$(printf '%s %s\n' "$PYTHON" "$(uname -m)" | digest - requirements.lock)"
NETWORK=default
case "$BASE" in helm-base:*) NETWORK=none ;; esac

# For the Python of the base, which need not be ours. http-ece comes as source only; it is plain Python, so ours builds it.
fetch_packages() {
    local staging="$CONTEXT.$$"
    rm -rf "$CACHE"/server-* "$staging"
    mkdir -p "$staging"
    awk '/^[a-z0-9]/ { source = /^http-ece==/ } !source' requirements.lock >"$staging/wheels.lock"
    awk '/^[a-z0-9]/ { source = /^http-ece==/ } source' requirements.lock >"$staging/source.lock"
    quietly "packages of the server" install_packages_of "$staging" ||
        fail "the server's packages could not be fetched" "check pip's configuration (pip config list) and the network"
    mv "$staging" "$CONTEXT"
}

install_packages_of() {
    .venv/bin/python -m pip install --no-compile --no-deps --target "$1/site" --require-hashes \
        --only-binary=:all: --python-version "$PYTHON" -r "$1/wheels.lock" &&
        .venv/bin/python -m pip install --no-compile --no-deps --target "$1/site" --require-hashes \
            --no-build-isolation -r "$1/source.lock"
}

# Caddy from the distribution's packages where the base is made from them; elsewhere the image installs it itself.
fetch_caddy() {
    rm -rf "$CONTEXT/caddy" "$CONTEXT/deb"
    mkdir -p "$CONTEXT/caddy" "$CONTEXT/deb"
    [ "$NETWORK" = none ] || return 0
    if ! [ -x /usr/bin/caddy ]; then
        quietly "caddy" sh -c 'cd "$1" && apt-get download caddy && dpkg-deb -x ./*.deb .' - "$CONTEXT/deb" ||
            fail "the package caddy could not be fetched" "apt-get update, then run the same command again"
    fi
    install -m 0755 "$([ -x /usr/bin/caddy ] && echo /usr/bin/caddy || echo "$CONTEXT/deb/usr/bin/caddy")" "$CONTEXT/caddy/caddy"
    rm -rf "$CONTEXT/deb"
}

[ -d "$CONTEXT/site" ] || fetch_packages
fetch_caddy
rm -rf "$CONTEXT/src"
mkdir -p "$CONTEXT/src/agent_image"
cp -r app templates static policies "$CONTEXT/src/"
cp agent_image/seccomp.json "$CONTEXT/src/agent_image/"
find "$CONTEXT/src" -name __pycache__ -prune -exec rm -rf {} +
cp agent_image/server.Dockerfile "$CONTEXT/Dockerfile"
cp Caddyfile "$CONTEXT/"
for target in server caddy; do
    quietly "docker build helm-$target" engine build --network "$NETWORK" --build-arg "BASE=$BASE" --target "$target" \
        -t "helm-$target:latest" "$CONTEXT" || fail "the image helm-$target could not be built on $BASE"
done
say "images helm-server:latest and helm-caddy:latest are there; next: docker-compose up -d"
