"""The command line: one file a command.

The result goes to stdout, progress to stderr and only to a terminal. Exit codes: 0 done, 1 the
check failed, 2 wrong usage or a file that cannot be used, said in one line on stderr.
"""

from trtfuse.cli.program import command, main

__all__ = ["command", "main"]
