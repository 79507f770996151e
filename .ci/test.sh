#!/usr/bin/env bash
# Every check and every tier of tests, each to its end, with its time; fails when one of them failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=lib.sh
. .ci/lib.sh
BIN="$ROOT/.venv/bin"
declare -a SUMMARY=()
FAILED=0

tier() {
    local label="$1" begin=$SECONDS verdict=passed
    shift
    say "--- $label"
    if [ "${HELM_VIA_GROUP:-}" = 1 ]; then
        sg docker -c "$(printf '%q ' "$@")" || verdict=FAILED
    else
        "$@" || verdict=FAILED
    fi
    [ "$verdict" = passed ] || FAILED=1
    SUMMARY+=("$(printf '%-8s %-34s %4d s' "$verdict" "$label" $((SECONDS - begin)))")
}

lint() {
    tier "ruff check" "$BIN/ruff" check .
    tier "ruff format" "$BIN/ruff" format --check .
    tier "mypy" "$BIN/mypy"
    tier "import contracts" "$BIN/lint-imports"
}

tests() {
    tier "tests" "$BIN/pytest" -n "${HELM_TEST_WORKERS:-auto}"
    tier "tests with the Docker Engine" "$BIN/pytest" -m "docker and not e2e"
    tier "tests in the browser" "$BIN/pytest" -m e2e
}

[ ! -f .venv/agent-image ] || export HELM_AGENT_IMAGE="${HELM_AGENT_IMAGE:-$(cat .venv/agent-image)}"
begin=$SECONDS
case "${1:-all}" in
    lint) lint ;;
    all)
        lint
        tests
        ;;
    *) fail "test.sh: no goal '$1'" "one of: lint, all" ;;
esac
printf '%s\n' '---' "${SUMMARY[@]}"
say "$([ "$FAILED" = 0 ] && echo "all green" || echo "NOT GREEN") in $((SECONDS - begin)) s"
exit "$FAILED"
