"""The command line: ``sgmsolve methods | problems | plan | order | compare | sample``."""

from __future__ import annotations

from sgmsolve.cli.main import main as main
