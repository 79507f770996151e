"""Helm: a self-hosted control plane for autonomous agents."""

__version__ = "0.1.0"
