"""`python -m app.door`."""

from app.door.serve import run

run()
