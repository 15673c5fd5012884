"""A small agent that answers questions about Markdown documents, with citations.

tools_server.py offers search and fetch over MCP, agent.py answers through the gateway, service.py
puts the agent behind HTTP. The folder can be copied under any name.
"""
