"""A server of tools over HTTP, by the protocol's own library. Argument: the port."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("adder", version="4.5.6")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def fail(why: str) -> str:
    """Fails."""
    raise ValueError(why)


server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
