#!/usr/bin/env bash
# The whole set-up of Helm on Debian or Ubuntu: `setup.sh run` for running it, `setup.sh test` for its tests as well.
#
# What is done already is skipped by the hash of what it was made from, so a second call costs almost nothing.
# `setup.sh serve` then starts Helm; `setup.sh lock` makes the hashed requirement files anew.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

VENV="$ROOT/.venv"
DOCKERD_LOG="${HELM_DOCKERD_LOG:-/var/log/helm-dockerd.log}"
PYTHON_LEAST="3.11"

# --- 1. Python -------------------------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "Helm needs Python $PYTHON_LEAST or later, and $(python3 -V 2>&1 || true) is what is here" \
        "install a later one (Debian 12, Ubuntu 24.04 and later: apt-get install python3 python3-venv)," \
        "or name one: make ${HELM_GOAL:-setup} PYTHON=/path/to/python3.12"
}

make_venv() {
    local python packaged
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        packaged=python3-venv
        case "$(basename "$(readlink -f "$python")")" in
            python3.*) packaged="$(basename "$(readlink -f "$python")")-venv" ;;
        esac
        install_packages "$packaged"
    fi
    rm -rf "$VENV"
    quietly "python -m venv" "$python" -m venv "$VENV" || fail "the virtual environment could not be made with $python"
}

# .venv/bin/helm without a build step: the checkout itself is on the path, so an edit needs no second installation.
link_checkout() {
    local site
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$ROOT" >"$site/helm-checkout.pth"
    # As pip does it: the kernel reads no interpreter line with a blank in it or longer than 127 bytes.
    cat >"$VENV/bin/helm" <<EOT
#!/bin/sh
'''exec' "$VENV/bin/python" "\$0" "\$@"
' '''
import sys

from app.cli import main

if __name__ == "__main__":
    sys.exit(main())
EOT
    chmod 755 "$VENV/bin/helm"
}

# The builder first: a package that comes as source would otherwise fetch one, unhashed, into a build of its own.
install_lock() {
    "$VENV/bin/python" -m pip install --require-hashes --only-binary=:all: -r requirements-build.lock &&
        "$VENV/bin/python" -m pip install --require-hashes --no-build-isolation -r "$1"
}

# environment LOCK: .venv holds exactly this lock (the development lock contains the other one).
environment() {
    local lock="$1" stamp="$VENV/.helm-setup" want
    want="$(basename "$lock") $ROOT $(digest "$lock")"
    if [ -x "$VENV/bin/helm" ] && grep -qxF "$want" "$stamp" 2>/dev/null && "$VENV/bin/python" -c '' 2>/dev/null; then
        return
    fi
    say "[1/$STEPS] Python environment: .venv from $(basename "$lock")"
    if ! { [ -x "$VENV/bin/pip" ] && new_enough "$VENV/bin/python" && head -1 "$VENV/bin/pip" | grep -qF "$VENV/"; }; then
        make_venv
    fi
    quietly "pip install" install_lock "$lock" ||
        fail "the packages of $(basename "$lock") could not be installed" \
            "check pip's configuration (pip config list) and the network, then run the same command again"
    link_checkout
    # The development lock contains the other one, so it serves for both.
    { [ "$lock" = requirements.lock ] || printf 'requirements.lock %s %s\n' "$ROOT" "$(digest requirements.lock)"
      printf '%s\n' "$want"; } >"$stamp"
}

# --- 2. Docker Engine ------------------------------------------------------------------------------------------------

answers() { ENGINE_LIMIT=20 engine info >/dev/null 2>&1; }

# No engine where nobody may start one: a remote engine that is down, or a machine without root.
start_daemon() {
    case "${DOCKER_HOST:-unix:///var/run/docker.sock}" in
        unix:///var/run/docker.sock | unix:///run/docker.sock) ;;
        *) fail "the Docker Engine at DOCKER_HOST=$DOCKER_HOST does not answer" "start it, or unset DOCKER_HOST" ;;
    esac
    if [ -d /run/systemd/system ]; then
        quietly "systemctl start docker" "${SUDO[@]}" systemctl start docker || fail "the Docker Engine does not start" \
            "see: systemctl status docker"
    else
        start_dockerd
    fi
    local tries=0
    until "${SUDO[@]}" timeout 10 docker info >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" = 3 ] && "${SUDO[@]}" grep -qs 'failed to start daemon.*\(iptables\|bridge\|network controller\)' "$DOCKERD_LOG"; then
            say "      this machine allows no bridge; starting the engine without one (a sealed run has no network anyway)"
            start_dockerd --bridge=none --iptables=false --ip6tables=false
        fi
        if [ "$tries" -ge 60 ]; then
            "${SUDO[@]}" tail -n 15 "$DOCKERD_LOG" 2>/dev/null | sed 's/^/      | /' >&2
            fail "the Docker Engine did not answer within a minute" "its log: $DOCKERD_LOG (systemd: journalctl -u docker)"
        fi
        sleep 1
    done
}

# Without an init system nobody mounts the control groups or starts the daemon; both are ours to do.
start_dockerd() {
    if ! grep -q ' cgroup2\? ' /proc/mounts; then
        "${SUDO[@]}" mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>>"$LOG" || say "      control groups could not be mounted"
    fi
    # shellcheck disable=SC2016
    "${SUDO[@]}" sh -c 'log=$1; shift; ulimit -n 1048576 2>/dev/null
        setsid nohup dockerd "$@" >"$log" 2>&1 </dev/null 9>&- &' - "$DOCKERD_LOG" "$@"
}

# Our own user must be able to ask the engine: as a member of the group docker, which is as good as root on this machine.
open_engine() {
    answers && return
    if [ "${INSTALLED_ENGINE:-}" = 1 ]; then
        say "      adding $(id -un) to the group docker (that is as good as root on this machine)"
        "${SUDO[@]}" usermod -aG docker "$(id -un)"
        export HELM_VIA_GROUP=1
        answers && return
    fi
    fail "the Docker Engine runs, but $(id -un) may not use it" \
        "sudo usermod -aG docker $(id -un), log in again, and run the same command (members of that group are as good as root)"
}

docker_engine() {
    if command -v docker >/dev/null && answers; then
        return
    fi
    say "[2/$STEPS] Docker Engine"
    if ! command -v docker >/dev/null; then
        INSTALLED_ENGINE=1
        install_packages docker.io ca-certificates
        # Some releases keep the command in a package of its own.
        command -v docker >/dev/null || install_packages docker-cli
    fi
    if ! { answers || "${SUDO[@]}" timeout 20 docker info >/dev/null 2>&1; }; then
        command -v dockerd >/dev/null || install_packages docker.io ca-certificates
        start_daemon
    fi
    open_engine
}

# --- 3. The image of a run -------------------------------------------------------------------------------------------

# Asks the engine once: an answer proves both that it runs and that the image is there.
engine_and_image() {
    local tag
    tag=$(agent_image/build.sh --name)
    if engine image inspect "$tag" >/dev/null 2>&1; then
        [ -f "$VENV/agent-image" ] && [ "$(cat "$VENV/agent-image")" = "$tag" ] && return
    fi
    docker_engine
    if ! engine image inspect "$tag" >/dev/null 2>&1; then
        say "[3/$STEPS] Agent image $tag"
        agent_image/build.sh
    fi
    engine tag "$tag" helm-agent:latest
    printf '%s\n' "$tag" >"$VENV/agent-image"
}

# --- 4. What the tests drive -----------------------------------------------------------------------------------------

browser_here() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

test_needs() {
    local wanted=(caddy libnss3-tools fonts-liberation fonts-inter git openssh-client iptables libatomic1) missing
    command -v dpkg-query >/dev/null || return 0
    # Ubuntu's chromium is a snap, which needs a running snapd; Playwright brings its own there.
    if ! browser_here >/dev/null && ! grep -qx 'ID=ubuntu' /etc/os-release; then
        wanted+=(chromium)
    fi
    if ! { docker compose version || docker-compose version; } >/dev/null 2>&1; then
        if grep -qx 'ID=ubuntu' /etc/os-release; then wanted+=(docker-compose-v2); else wanted+=(docker-compose); fi
    fi
    mapfile -t missing < <(missing_packages "${wanted[@]}")
    if [ ${#missing[@]} != 0 ]; then
        say "[4/$STEPS] For the tests: ${missing[*]}"
        install_packages "${missing[@]}"
        # The package would hold ports 80 and 443 of somebody's machine; the tests start their own.
        if [ -d /run/systemd/system ] && printf '%s\n' "${missing[@]}" | grep -qx caddy; then
            "${SUDO[@]}" systemctl disable --now caddy >>"$LOG" 2>&1 || true
        fi
    fi
    if ! browser_here >/dev/null && ! [ -d "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}" ]; then
        quietly "playwright install chromium" "$VENV/bin/playwright" install --with-deps chromium ||
            fail "no browser for the tests" "install Chromium or Chrome and run make test again"
    fi
}

# --- goals -----------------------------------------------------------------------------------------------------------

once_at_a_time() {
    command -v flock >/dev/null || return 0
    exec 9>"$CACHE/setup.lock"
    flock -w 1800 9 || fail "another set-up holds $CACHE/setup.lock for half an hour" "wait for it, or end it"
}

lock() {
    local uv="$VENV/bin/uv" options
    options=(pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --universal
        --python-version "$PYTHON_LEAST" --custom-compile-command "make lock")
    [ "${UPGRADE:-}" = 1 ] && options+=(--upgrade)
    [ -x "$uv" ] || environment requirements-dev.lock
    "$uv" "${options[@]}" requirements-build.in -o requirements-build.lock
    "$uv" "${options[@]}" requirements.in -o requirements.lock
    "$uv" "${options[@]}" -c requirements.lock requirements.in requirements-dev.in -o requirements-dev.lock --no-annotate
    "$uv" "${options[@]}" agent_image/requirements.in -o agent_image/requirements.lock
}

main() {
    local goal="${1:-run}"
    STEPS=3
    case "$goal" in
        run)
            once_at_a_time
            environment requirements.lock
            engine_and_image
            ;;
        test)
            STEPS=4
            once_at_a_time
            environment requirements-dev.lock
            engine_and_image
            test_needs
            ;;
        dev)
            once_at_a_time
            environment requirements-dev.lock
            ;;
        serve)
            [ ! -f "$VENV/agent-image" ] || export HELM_IMAGE="${HELM_IMAGE:-$(cat "$VENV/agent-image")}"
            [ "${HELM_VIA_GROUP:-}" != 1 ] || exec sg docker -c "exec $(printf '%q' "$VENV/bin/helm") serve"
            exec "$VENV/bin/helm" serve
            ;;
        lock)
            lock
            ;;
        *) fail "setup.sh: no goal '$goal'" "one of: run, test, dev, serve, lock" ;;
    esac
}

main "$@"
