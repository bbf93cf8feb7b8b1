"""Denoising MCMC: chains on (x, sigma), and our plans to denoise what they visit.

chain = exact_chain(target, geometric_levels(0.01, 2.0, 200))
found = denoising_mcmc(chain, model, Denoiser("kar1", 6), start, emissions=20)
found.x, found.nfe.total, found.run.statuses
"""

from __future__ import annotations

from sgmsolve.errors import ChainError as ChainError
from sgmsolve.mcmc.chain import ChainRun as ChainRun
from sgmsolve.mcmc.chain import ChainStatus as ChainStatus
from sgmsolve.mcmc.chain import run_chains as run_chains
from sgmsolve.mcmc.coverage import ModeCoverage as ModeCoverage
from sgmsolve.mcmc.coverage import mode_coverage as mode_coverage
from sgmsolve.mcmc.denoiser import PUBLISHED as PUBLISHED
from sgmsolve.mcmc.denoiser import Denoised as Denoised
from sgmsolve.mcmc.denoiser import Denoiser as Denoiser
from sgmsolve.mcmc.diagnostics import Diagnosis as Diagnosis
from sgmsolve.mcmc.diagnostics import diagnose as diagnose
from sgmsolve.mcmc.diagnostics import summaries as summaries
from sgmsolve.mcmc.diagnostics import trace_plot as trace_plot
from sgmsolve.mcmc.levels import ExactPosterior as ExactPosterior
from sgmsolve.mcmc.levels import NoiseLevelNetwork as NoiseLevelNetwork
from sgmsolve.mcmc.levels import NormEstimate as NormEstimate
from sgmsolve.mcmc.levels import RandomWalk as RandomWalk
from sgmsolve.mcmc.levels import SigmaStep as SigmaStep
from sgmsolve.mcmc.levels import geometric_levels as geometric_levels
from sgmsolve.mcmc.network import LevelPerceptron as LevelPerceptron
from sgmsolve.mcmc.network import train_level_network as train_level_network
from sgmsolve.mcmc.sampler import ChainWarning as ChainWarning
from sgmsolve.mcmc.sampler import Evaluations as Evaluations
from sgmsolve.mcmc.sampler import MCMCSamples as MCMCSamples
from sgmsolve.mcmc.sampler import denoise_run as denoise_run
from sgmsolve.mcmc.sampler import denoising_mcmc as denoising_mcmc
from sgmsolve.mcmc.settings import Chain as Chain
from sgmsolve.mcmc.settings import Restart as Restart
from sgmsolve.mcmc.settings import StepSize as StepSize
from sgmsolve.mcmc.settings import exact_chain as exact_chain
from sgmsolve.mcmc.settings import published_chain as published_chain
from sgmsolve.mcmc.settings import restart_after as restart_after
from sgmsolve.mcmc.start import START_CALLS as START_CALLS
from sgmsolve.mcmc.start import ChainState as ChainState
from sgmsolve.mcmc.start import exact_start as exact_start
from sgmsolve.mcmc.start import published_start as published_start
