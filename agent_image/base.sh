#!/usr/bin/env bash
# A base image from the distribution's packages, for machines that reach no image registry: base.sh NAME
#
# It uses the package sources, keys and proxy of this machine as they are configured, and leaves none of that in the image.
set -euo pipefail
# shellcheck source=../.ci/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../.ci/lib.sh"

IMAGE="$1"
PACKAGES=python3,git,ca-certificates,curl,procps
TAR="$CACHE/base.$$.tar"

command -v mmdebstrap >/dev/null || install_packages mmdebstrap

# One line per source of this machine that belongs to its release: other releases and vendors' sources stay out.
sources() {
    local codename
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || fail "/etc/os-release names no release, so no base can be made from its packages" \
        "name a base image that the Docker Engine has: HELM_BASE=debian:bookworm-slim make setup"
    apt-get indextargets --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Identifier: Packages' | sort -u |
        while IFS='|' read -r uri release component; do
            case "$release" in
                "$codename" | "$codename-updates" | "$codename-security") ;;
                *) continue ;;
            esac
            case "$component" in main | universe) ;; *) continue ;; esac
            printf 'deb %s %s %s\n' "$uri" "$release" "$component"
        done
}

# How this machine fetches: proxies, certificates, date checks. Lists and sandboxing are mmdebstrap's own business.
fetch_options() {
    apt-config dump | sed -nE 's/^(Acquire::(http|https|ftp)(::[A-Za-z0-9._-]+)*|Acquire::(Check-[A-Za-z-]+|Retries|ForceIPv[46])) "(.+)";$/\1 "\5"/p'
}

build() {
    local options=() line list
    while IFS= read -r line; do options+=("--aptopt=$line"); done < <(fetch_options)
    list=$(mktemp "$CACHE/sources.XXXXXX.list")
    sources >"$list"
    [ -s "$list" ] || fail "no package source of this release is configured in /etc/apt" "repair it, then run the same command again"
    "${SUDO[@]}" mmdebstrap --variant=minbase --include="$PACKAGES" "${options[@]}" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --customize-hook='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/apt/sources.list.d/*' \
        --customize-hook=': >"$1"/etc/apt/sources.list' \
        "" "$TAR" "$list"
    rm -f "$list"
}

trap 'rm -f "$TAR" "$CACHE"/sources.*.list' EXIT
begin=$SECONDS
quietly "base from the distribution's packages" build ||
    fail "no registry can be reached, and no base could be made from the distribution's packages" \
        "see the log; or give the Docker Engine a base and name it: HELM_BASE=debian:bookworm-slim make setup"
quietly "docker import" engine import --change 'CMD ["/bin/bash"]' "$TAR" "$IMAGE" || fail "docker import of the base failed"
say "      base $IMAGE from the distribution's packages ($((SECONDS - begin)) s)"
