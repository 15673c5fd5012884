"""Simulated upstreams that speak the real protocols over HTTP, for the demo, benches and tests.

Nothing here is a measurement of a real provider, and every answer says so.
"""
