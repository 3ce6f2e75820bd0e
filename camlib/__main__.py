"""`python -m camlib` is the same command as `camlib`."""

from camlib.cli import main

main()
