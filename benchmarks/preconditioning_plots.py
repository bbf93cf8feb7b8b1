"""The pictures of docs/preconditioning.md from benchmarks/results/preconditioning.json.

python benchmarks/preconditioning_plots.py            (needs matplotlib; writes to docs/assets)
"""

from __future__ import annotations

import json
from typing import Any

from preconditioning_table import RECORD, ROOT

ASSETS = ROOT / "docs" / "assets"
LOOK = {
    "plain": ("plain", "#222222", ":"),
    "PDS α=5 (released)": ("PDS, α = 5", "#d1495b", "-"),
    "PDS α(T)": ("PDS, α(T)", "#d1495b", "--"),
    "TDAS disc r=0.2, g=0.9": ("TDAS, disc, g = 0.9", "#3d7dca", "-"),
    "TDAS γ(T)": ("TDAS, γ = (1 + ρ)/2", "#3d7dca", "--"),
    "exact split, α=5 mask": ("exact split, α = 5", "#2a9d5c", "-"),
}


def evaluations(ax: Any) -> None:
    """The axis of T."""
    ticks = (20, 50, 100, 200, 500, 1000, 2000)
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.minorticks_off()
    ax.set_xlabel("T, evaluations")


def bands(axes: Any, found: dict[str, Any]) -> None:
    """Standard deviation over the right one against T, at low and high frequencies."""
    low, high = found["edges"]
    for i, (ax, title) in enumerate(
        zip(axes, (f"low frequencies, |k| ≤ {low:g}", f"high, |k| ≥ {high:g}"), strict=True)
    ):
        for row in found["rows"]:
            label, colour, style = LOOK[row["choice"]]
            values = [both[i] for both in row["bands"]]
            order = 3 if label == "plain" else 2  # it lies under others at low frequencies
            ax.semilogx(
                found["steps"], values, style, color=colour, label=label, lw=1.6, zorder=order
            )
        ax.axhline(1, color="#999999", lw=0.8, zorder=0)
        ax.set(title=title, ylim=(0.85, 1.3))
        evaluations(ax)
    axes[0].set_ylabel("standard deviation / right one")
    axes[0].legend(frameon=False, fontsize=8)


def distances(ax: Any, found: dict[str, Any]) -> None:
    """W2 a pixel against T."""
    for row in found["rows"]:
        label, colour, style = LOOK[row["choice"]]
        ax.loglog(found["steps"], row["w2"], style, color=colour, label=label, lw=1.6)
    ax.set_ylabel("W2 a pixel (pixel std 0.25)")
    evaluations(ax)
    ax.legend(frameon=False, fontsize=8)


def main() -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    found = json.loads(RECORD.read_text(encoding="utf-8"))["parts"]["profiles"]["found"]
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.3), sharey=True, layout="constrained")
    bands(axes, found)
    figure.savefig(ASSETS / "preconditioning-bands.png", dpi=110)
    figure, ax = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    distances(ax, found)
    figure.savefig(ASSETS / "preconditioning-w2.png", dpi=110)


if __name__ == "__main__":
    main()
