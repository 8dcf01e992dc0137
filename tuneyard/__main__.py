"""`python -m tuneyard` is the command line, also where its script is not on PATH."""

from tuneyard.cli import main

main()
