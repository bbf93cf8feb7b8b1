"""Plans: samplers as tables."""

from sgmsolve.plan.affine import Affine as Affine
from sgmsolve.plan.builder import PlanBuilder as PlanBuilder
from sgmsolve.plan.frame import Frame as Frame
from sgmsolve.plan.parts import Part as Part
from sgmsolve.plan.parts import per_sample as per_sample
from sgmsolve.plan.plan import DRAW as DRAW
from sgmsolve.plan.plan import Node as Node
from sgmsolve.plan.plan import Plan as Plan
from sgmsolve.plan.plan import Response as Response
