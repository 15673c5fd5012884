"""Runs the example's agent from a checkout; the code is in src/verismo/examples/agentic_rag/."""

from verismo.examples.agentic_rag.service import main

main()
