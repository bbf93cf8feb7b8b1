"""Log-densities on the 2-D mixtures: error, evaluations and gaps at default tolerance.

    python benchmarks/likelihood.py [--samples N] [--out FILE]

Errors are against log p at t_min with the exact prior, in nats; the figure to reach is a largest
error under 1e-4.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from sgmsolve.problems import find

import sgmsolve
from sgmsolve.likelihood import gaps, log_density

LIMIT = 1e-4


def measure(samples: int) -> list[dict[str, Any]]:
    ring = find("ring")
    rows = []
    for process in (ring.process, sgmsolve.VP(), sgmsolve.VE(), sgmsolve.SubVP()):
        x = torch.tensor(ring.target.sample(samples, seed=1))
        model = ring.target.model(process, "noise")
        for dtype in (torch.float64, torch.float32):
            found = log_density(process, model, x.to(dtype), prior=ring.target)
            left = gaps(found, ring.target, x.to(dtype))
            row = {"process": repr(process), "dtype": str(dtype), "nfe": float(found.nfe.mean())}
            for name in ("solver", "data", "prior", "standard_normal"):
                gap = getattr(left, name)
                row[name] = {"mean": float(gap.mean()), "largest": float(gap.abs().max())}
            rows.append(row)
            what = f"{row['process'][:24]:24} {row['dtype'][6:]} nfe {row['nfe']:5.0f}"
            told = "  ".join(f"{k} {v['largest']:.1e}" for k, v in row.items() if type(v) is dict)
            print(f"{what}  {told}{'' if row['solver']['largest'] < LIMIT else '  MISSED'}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(given.samples)
    if given.out:
        given.out.write_text(json.dumps({"limit": LIMIT, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
