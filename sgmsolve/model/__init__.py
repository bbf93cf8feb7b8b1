"""What a network predicts: wrapping, exact conversions between kinds, guidance and thresholding.

A model is an object with ``process``, ``predicts`` and ``model(z, t) -> tuple of arrays``; see
:class:`sgmsolve.model.base.Model`. Everything here maps a model to a model.
"""

from __future__ import annotations

from sgmsolve.model.base import Model as Model
from sgmsolve.model.base import check_prediction as check_prediction
from sgmsolve.model.base import to_kind as to_kind
from sgmsolve.model.guidance import classifier_free as classifier_free
from sgmsolve.model.guidance import classifier_free_batched as classifier_free_batched
from sgmsolve.model.guidance import classifier_guidance as classifier_guidance
from sgmsolve.model.network import NetworkModel as NetworkModel
from sgmsolve.model.network import Scalings as Scalings
from sgmsolve.model.network import as_model as as_model
from sgmsolve.model.network import edm_scalings as edm_scalings
from sgmsolve.model.wrappers import CountCalls as CountCalls
from sgmsolve.model.wrappers import clip_data as clip_data
from sgmsolve.model.wrappers import dynamic_threshold as dynamic_threshold
