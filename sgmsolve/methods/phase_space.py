"""The splitting integrators of the literature, and two of true second order, as schemes.

Each is one line in the language of ``_letters``, run by ``splitting``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sgmsolve.methods.multistep import choose
from sgmsolve.methods.registry import PHASE, register
from sgmsolve.methods.splitting import evaluations, splitting
from sgmsolve.plan import Plan

LAST = ("end", "start", "mid")
"""Times at which RVV and ROBAB may evaluate the network for their last half update."""

CONJUGATE = ("zero", "row", "full")
NOISE = ("lambda_s", "lambda_s_form")


def _own(name: str, default: str) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation="str"
    )


OWN = {"last": (_own("last", "end"), LAST), "B": (_own("B", "zero"), CONJUGATE)}
"""Options that ``splitting`` has no name for: ``last`` goes into the scheme, ``B`` is its flow."""


def _builder(scheme: str, names: Sequence[str], fixed: Mapping[str, Any]) -> Callable[..., Plan]:
    """``splitting`` with one scheme, of whose options only ``names`` and denoise are left."""

    def build(process: Any, grid: Sequence[Any], **options: Any) -> Plan:
        for name, (parameter, known) in OWN.items():
            if name in names:
                choose(name, options.setdefault(name, parameter.default), known)
        text = scheme.format(options.pop("last", "end"))
        if "B" in options:
            options["flow"] = options.pop("B")
        return splitting(process, grid, scheme=text, **fixed, **options)

    all_of_them = inspect.signature(splitting).parameters
    shown = ["process", "grid", *names, "denoise"]
    found = [OWN[n][0] if n in OWN else all_of_them[n] for n in shown]
    build.__signature__ = inspect.Signature(found)  # type: ignore[attr-defined]
    return build


def _scaled_noise(claims: dict[str, float], options: Any, steps: int) -> dict[str, float]:
    """With lambda_s other than 1 another SDE is solved: nothing is claimed."""
    own = options["lambda_s"] is None
    return claims if own or (options["lambda_s"], options["lambda_s_form"]) == (1, "scaled") else {}


def _add(
    name: str,
    summary: str,
    scheme: str,
    *names: str,
    order: int = 1,
    eta: float = 0.0,
    reference: str = "pandey2024efficient",
    equation: str = "section 3.3",
    notes: str = "",
) -> None:
    """Register one scheme; ``names`` are the options it keeps."""
    text = scheme.format("end")
    noisy = "O" in text or eta > 0
    register(
        name,
        family="phase-space splitting",
        summary=f"{summary}: {text}.",
        predicts="noise" if "B" in names else "score",
        variable="t",
        orders={"weak" if noisy else "deterministic": order},
        stochastic=noisy,
        evaluations=evaluations(text),
        weights=("published",),
        processes=PHASE,
        scalar=False,
        limits=_scaled_noise if "lambda_s" in names else None,
        reference=reference,
        equation=equation,
        notes=notes,
    )(_builder(scheme, names, {"eta": eta} if "L" in text else {}))


_NAIVE, _REDUCED, _SDE = "Naive splitting", "Reduced splitting", "of the reverse SDE"
_add("nse", f"{_NAIVE}, symplectic Euler", "s B s A")
_add("nvv", f"{_NAIVE}, velocity Verlet", "s B/2 s A s B/2")
_add("rse", f"{_REDUCED}, symplectic Euler", "s B A")
_add(
    "rvv",
    f"{_REDUCED}, velocity Verlet",
    "s B/2 A s@{} B/2",
    "last",
    notes="last='start' is the reading in which no score is taken at the step's end.",
)
_add("noba", f"{_NAIVE} {_SDE}", "O s B s A", *NOISE)
_add("nbao", f"{_NAIVE} {_SDE}", "s B s A O", *NOISE)
_add("nobab", f"{_NAIVE} {_SDE}", "O s B/2 s A s B/2", *NOISE)
_add("roba", f"{_REDUCED} {_SDE}", "O s B A", *NOISE)
_add("rbao", f"{_REDUCED} {_SDE}", "s B A O", *NOISE)
_add("robab", f"{_REDUCED} {_SDE}", "O s B/2 A s@{} B/2", "last", *NOISE)
_CONJUGATE = ("B", "lam", "factor")
_add("cse", "Conjugate symplectic Euler", "s B A", *_CONJUGATE)
_add("cvv", "Conjugate velocity Verlet", "s B/2 A s@end B/2", *_CONJUGATE)
_add("coba", f"Conjugate splitting {_SDE}", "O s B A", *_CONJUGATE, *NOISE)
_CLD, _THERE = "dockhorn2022cld", "section 3.2"
_WHAT = "Symmetric splitting CLD sampler, score at the step's"
_add("sscs", f"{_WHAT} start", "L/2 s S L/2", eta=1.0, reference=_CLD, equation=_THERE)
_add("sscs-mid", f"{_WHAT} middle", "L/2 s@mid S L/2", eta=1.0, reference=_CLD, equation=_THERE)
for _eta, _end, _flow in ((1.0, "", "reverse SDE"), (0.0, "-ode", "probability flow")):
    _add(
        f"strang2{_end}",
        f"Strang splitting of the {_flow}, midpoint rule for the score's kick",
        "L/2 S2 L/2",
        order=2,
        eta=_eta,
        notes="Symmetric, with exact linear flow and noise; two evaluations a step.",
        reference="sgmsolve",
        equation="sgmsolve.methods.splitting",
    )
    _add(
        f"strang2-lagged{_end}",
        f"Strang splitting of the {_flow}, half a kick taken from the step before",
        "L/2 S1 L/2",
        order=2,
        eta=_eta,
        notes="One evaluation a step, two in the first.",
        reference="sgmsolve",
        equation="sgmsolve.methods.splitting",
    )

register(
    "splitting",
    family="phase-space splitting",
    summary="Any splitting scheme, written as a line such as scheme='O s B/2 A s@end B/2'.",
    predicts="score",
    variable="t",
    orders={},
    stochastic=True,
    weights=("published",),
    processes=PHASE,
    scalar=False,
    reference="pandey2024efficient",
    equation="section 3.3",
    order_notes="Depends on the scheme: `sgmsolve order --scheme` measures it.",
)(splitting)
