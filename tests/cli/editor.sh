#!/bin/sh
# An editor for tests: it writes other arguments into the file that it is given.
printf '{"command": "echo edited"}\n' > "$1"
