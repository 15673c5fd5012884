"""Verismo: a gateway for LLM and agent APIs whose every answer carries a proof."""

__version__ = "0.1.0"
