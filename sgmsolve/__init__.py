"""sgmsolve."""
