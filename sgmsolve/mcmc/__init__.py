"""Denoising MCMC: chains on (x, sigma), and our plans to denoise what they visit."""
