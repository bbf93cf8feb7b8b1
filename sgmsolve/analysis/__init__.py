"""Exact analysis, measured orders and work-precision studies."""
