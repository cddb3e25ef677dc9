"""The command line: parses, calls, renders errors. No logic lives here.

Data go to stdout only; warnings, progress and errors to stderr. Exit codes: 0, 1 run-time error,
2 usage, 130 interrupt, 143 SIGTERM, 129 SIGHUP; a reader that closes the pipe ends a command
quietly.
"""

from lmfst.cli import commands, fst_commands
from lmfst.cli.group import app, main

__all__ = ["app", "commands", "fst_commands", "main"]
