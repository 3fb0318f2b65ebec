"""The official Python client over HTTP, by itself, as an older client, and pinned: a technician's work, and a restart meanwhile."""

import asyncio
from functools import partial

from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from work import URL, check, faults, http_with, look, restart, run_cases, wait_until_live, work

MODERN = "2026-07-28"
LEGACY = "2025-11-25"


def connect(http, mode):
    return Client(streamable_http_client(URL, http_client=http), mode=mode)


async def run(mode, revision):
    async with http_with() as http:
        async with connect(http, mode) as client:
            check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
            listed = await look(client)
            component = await work(client)
            await faults(client, component)
            await restart()
            if revision == MODERN:
                # Nothing was lost that this client would have to know.
                await wait_until_live(client)
                await work(client)
            else:
                try:
                    await client.list_tools()
                except MCPError as error:
                    check("initialize" in str(error), f"a session that is gone was told as {error}")
                else:
                    raise AssertionError("a session survived a restart")
        async with connect(http, mode) as client:
            await wait_until_live(client)
            await work(client)
    return f"{revision}, {len(listed)} tools, moved {component} and put it back, went on after a restart"


asyncio.run(
    run_cases(
        "mcp_client.py",
        {"auto": partial(run, "auto", MODERN), "legacy": partial(run, "legacy", LEGACY), "pinned": partial(run, MODERN, MODERN)},
    )
)
