"""`python -m app.demo --home DIR`: the demo world as one process on loopback."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from app.demo import DEMO_KEY, SITE_PORT
from app.demo.scenario import ScenarioError
from app.demo.server import NAMES, SCENARIOS, Plan, serve


def main() -> None:
    """Parse the command line and serve; a broken scenario or a taken port is one line and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m app.demo", description="Helm's demo world: scripted models, a small web, e-mail."
    )
    parser.add_argument("--home", type=Path, required=True, help="folder for the mailbox and the records")
    parser.add_argument("--port-file", type=Path, help="where the addresses are written (default HOME/world.json)")
    parser.add_argument("--key", default=DEMO_KEY, help="the model key that is accepted")
    parser.add_argument("--scenarios", type=Path, default=SCENARIOS, help="folder of scenario files")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin is closed")
    for name in NAMES:
        default = SITE_PORT if name == "site" else 0
        parser.add_argument(f"--{name}-port", type=int, default=default, help=f"default {default or 'a free one'}")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.WARNING)
    home = given.home.absolute()
    plan = Plan(
        home=home,
        ports={name: getattr(given, f"{name}_port") for name in NAMES},
        key=given.key,
        port_file=given.port_file or home / "world.json",
        scenarios=given.scenarios,
        with_parent=given.with_parent,
    )
    try:
        asyncio.run(serve(plan))
    except ScenarioError as error:
        raise SystemExit(f"demo world: {error}") from error


if __name__ == "__main__":
    main()
