"""Async orchestration of the domain over the ports; no library of its own."""
