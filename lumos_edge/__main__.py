"""`python -m lumos_edge`."""

from lumos_edge.cli import main

main()
