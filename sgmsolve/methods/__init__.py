"""Methods: ``(process, grid, *, options) -> Plan``, one family a file.

Importing this package registers them all.
"""

from sgmsolve.methods import ancestral_steps as ancestral_steps
from sgmsolve.methods import calibrated as calibrated
from sgmsolve.methods import conjugate as conjugate
from sgmsolve.methods import deis as deis
from sgmsolve.methods import dpmpp as dpmpp
from sgmsolve.methods import edm as edm
from sgmsolve.methods import exp_rk as exp_rk
from sgmsolve.methods import multistep as multistep
from sgmsolve.methods import one_step as one_step
from sgmsolve.methods import phase_space as phase_space
from sgmsolve.methods import pndm as pndm
from sgmsolve.methods import predictor_corrector as predictor_corrector
from sgmsolve.methods import registry as registry
from sgmsolve.methods import restart as restart
from sgmsolve.methods import sa_solver as sa_solver
from sgmsolve.methods import sde_multistep as sde_multistep
from sgmsolve.methods import sde_single as sde_single
from sgmsolve.methods import single_step as single_step
from sgmsolve.methods import target_aware as target_aware
from sgmsolve.methods import unipc as unipc
