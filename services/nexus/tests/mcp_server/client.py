"""The protocol's official Python library against a gateway, in the way that the case names."""

import asyncio
import sys

from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

URL = sys.argv[1] + "/mcp"


async def calls(mode):
    async with Client(URL, mode=mode) as client:
        expected = "2025-11-25" if mode == "legacy" else "2026-07-28"
        assert client.protocol_version == expected, client.protocol_version
        # Whoever names a revision does not ask the server what it has.
        if mode != "2026-07-28":
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.prompts is None
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["calculator"].annotations.read_only_hint is True, tools["calculator"]

        heard = []

        async def progress(done, total, message):
            heard.append((done, message))

        result = await client.call_tool(
            "calculator", {"expression": "2*21"}, progress_callback=progress
        )
        assert not result.is_error and "42" in result.content[0].text, result
        assert [done for done, _ in heard] == sorted({done for done, _ in heard}), heard
        assert any("calculator is called" in message for _, message in heard), heard

        said = await client.call_tool("agent-default", {"input": "hello"})
        assert not said.is_error and said.content[0].text, said
        denied = await client.call_tool("calculator", {"expression": "13"})
        assert denied.is_error and "unlucky" in denied.content[0].text, denied
        try:
            await client.call_tool("no_such_tool", {})
            raise AssertionError("an unknown tool was called")
        except MCPError as error:
            assert "Unknown tool" in str(error), error
        if mode == "legacy":
            await client.send_ping()


async def approval():
    asked = []

    async def answer(context, params):
        asked.append(params.message)
        return ElicitResult(action="accept", content={"wait": True})

    async with Client(URL, elicitation_callback=answer) as client:
        result = await client.call_tool("calculator", {"expression": "6*7"})
    assert asked and "boss" in asked[0], asked
    assert not result.is_error, result
    print(result.content[0].text)


asyncio.run(approval() if sys.argv[2] == "approval" else calls(sys.argv[2]))
