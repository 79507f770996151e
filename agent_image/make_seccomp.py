"""Makes seccomp.json: Docker's default profile, narrowed to what a run needs.

Source: `profiles/seccomp/default.json` of Docker (Apache-2.0, Copyright The Moby Authors), in Debian's package
golang-github-docker-docker-dev. Usage: `python3 make_seccomp.py default.json > seccomp.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ORIGIN = "Derived from Docker's default seccomp profile (Apache-2.0, Copyright The Moby Authors) by make_seccomp.py."
ARCHITECTURES = {"SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_AARCH64": "arm64"}
"""Native calls only: the 32-bit tables reach socket calls through socketcall, where no argument can be looked at."""
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
"""What socket() may open. An allowlist, since the filter compares 64 bits and the kernel uses 32: "not AF_VSOCK" is
passed by setting a high bit, "equals AF_INET" is not."""
REFUSED = {"socket", "socketpair", "socketcall", "io_uring_setup", "io_uring_enter", "io_uring_register"}
"""io_uring performs socket calls that no filter sees; socket and socketpair come back below with their families."""
NEWER = ["cachestat", "fchmodat2", "futex_requeue", "futex_wait", "futex_wake", "map_shadow_stack", "process_mrelease"]
"""Harmless calls that newer C libraries try first and that the source profile does not know yet."""


def _applies(rule: dict[str, Any]) -> bool:
    """Whether a run can ever meet this rule: it has no capability and one of our architectures."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.get("caps"):
        return False
    arches = set(ARCHITECTURES.values())
    return (not includes.get("arches") or bool(arches & set(includes["arches"]))) and not arches <= set(
        excludes.get("arches") or []
    )


def _narrow(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule without refused names, and without conditions that always hold here."""
    narrowed: dict[str, Any] = {"names": sorted(set(rule["names"]) - REFUSED), "action": rule["action"]}
    for key in ("errnoRet", "args", "comment"):
        if rule.get(key):
            narrowed[key] = rule[key]
    includes = {key: value for key, value in (rule.get("includes") or {}).items() if value}
    if "arches" in includes:
        includes["arches"] = sorted(set(includes["arches"]) & set(ARCHITECTURES.values()))
    if includes:
        narrowed["includes"] = includes
    return narrowed


def _allow(call: str, family: str) -> dict[str, Any]:
    equals = {"index": 0, "value": FAMILIES[family], "op": "SCMP_CMP_EQ"}
    return {"names": [call], "action": "SCMP_ACT_ALLOW", "args": [equals], "comment": family}


def narrow(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile of a run from Docker's. Raises ValueError when the source is not a default-deny profile."""
    if profile["defaultAction"] != "SCMP_ACT_ERRNO":
        raise ValueError("the source profile does not deny by default")
    rules = [_narrow(rule) for rule in profile["syscalls"] if _applies(rule)]
    rules = [rule for rule in rules if rule["names"]]
    rules[0]["names"] = sorted(set(rules[0]["names"]) | set(NEWER))
    rules[0]["comment"] = ORIGIN
    rules += [_allow("socket", family) for family in FAMILIES]
    rules.append(_allow("socketpair", "AF_UNIX"))
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [{"architecture": name, "subArchitectures": []} for name in ARCHITECTURES],
        "syscalls": rules,
    }


def main() -> None:
    """Read the source named on the command line, write the profile to standard output."""
    source = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    json.dump(narrow(source), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
