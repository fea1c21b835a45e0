"""`python -m trtfuse` is the command `trtfuse`."""

from trtfuse.cli import main

main()
