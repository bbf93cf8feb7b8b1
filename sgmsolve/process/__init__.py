"""Forward processes: linear SDEs with exact Gaussian transitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sgmsolve.errors import ProcessError, unknown
from sgmsolve.process._phase import FACTORS as FACTORS
from sgmsolve.process._phase import AbstractPhaseSpace as AbstractPhaseSpace
from sgmsolve.process._recipe import complete_recipe as complete_recipe
from sgmsolve.process.augmented import AugmentedProcess as AugmentedProcess
from sgmsolve.process.base import KINDS as KINDS
from sgmsolve.process.base import AbstractProcess as AbstractProcess
from sgmsolve.process.base import ScalarProcess as ScalarProcess
from sgmsolve.process.cld import CLD as CLD
from sgmsolve.process.edm import EDM as EDM
from sgmsolve.process.edm import Flow as Flow
from sgmsolve.process.psld import PSLD as PSLD
from sgmsolve.process.subvp import SubVP as SubVP
from sgmsolve.process.ve import VE as VE
from sgmsolve.process.vp import VP as VP
from sgmsolve.process.vp import cosine_betas as cosine_betas
from sgmsolve.process.vp import linear_betas as linear_betas
from sgmsolve.process.vp import scaled_linear_betas as scaled_linear_betas

PROCESSES: dict[str, Any] = {
    "vp": VP,
    "ve": VE,
    "subvp": SubVP,
    "edm": EDM,
    "flow": Flow,
    "cld": CLD,
    "psld": PSLD,
    "augmented": AugmentedProcess,
}
"""The class of every name that ``spec()["process"]`` may hold."""


def from_spec(spec: Mapping[str, Any]) -> AbstractProcess:
    """Return the process that ``process.spec()`` described.

    ``spec`` is ``{"process": name, parameter: value, ...}``.

    Raises: ProcessError for something else than a description, an unknown name or parameter.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("process"), str):
        msg = (
            f"a process description is a mapping with the key 'process', but {spec!r} was given; "
            f"pass what process.spec() returned."
        )
        raise ProcessError(msg)
    parameters = {key: value for key, value in spec.items() if key != "process"}
    kind = PROCESSES.get(spec["process"])
    if kind is None:
        raise ProcessError(unknown("process", spec["process"], PROCESSES))
    known = [name for name, field in kind.__dataclass_fields__.items() if field.init]
    for name in parameters:
        if name not in known:
            raise ProcessError(unknown(f"parameter of {kind.__name__}", str(name), known))
    if isinstance(parameters.get("betas"), list):
        parameters["betas"] = tuple(parameters["betas"])
    made: AbstractProcess = kind(**parameters)
    return made
