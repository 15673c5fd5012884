"""Runs the example's tools from a checkout; the code is in src/verismo/examples/agentic_rag/."""

from verismo.examples.agentic_rag.tools_server import main

main()
