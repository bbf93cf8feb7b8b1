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
from sgmsolve.model.guidance import gradient_of as gradient_of
from sgmsolve.model.matrix_scalings import AugmentedScalings as AugmentedScalings
from sgmsolve.model.matrix_scalings import MatrixScalings as MatrixScalings
from sgmsolve.model.matrix_scalings import MixedScore as MixedScore
from sgmsolve.model.matrix_scalings import augmented_scalings as augmented_scalings
from sgmsolve.model.matrix_scalings import mixed_score as mixed_score
from sgmsolve.model.network import NetworkModel as NetworkModel
from sgmsolve.model.network import as_model as as_model
from sgmsolve.model.scalings import EDMScalings as EDMScalings
from sgmsolve.model.scalings import Scalings as Scalings
from sgmsolve.model.scalings import edm_scalings as edm_scalings
from sgmsolve.model.wrappers import CountCalls as CountCalls
from sgmsolve.model.wrappers import clip_data as clip_data
from sgmsolve.model.wrappers import dynamic_threshold as dynamic_threshold
