"""The official Python client over HTTP, by itself, as an older client, pinned, and over HTTP+SSE: a technician's work, and a restart
meanwhile."""

import asyncio
import logging
from functools import partial

from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from work import (
    KEY,
    LEGACY,
    MODERN,
    URL,
    Heard,
    check,
    faults,
    http_with,
    look,
    restart,
    run_cases,
    wait_until_live,
    watch,
    work,
)

SSE_URL = URL.removesuffix("/mcp") + "/sse"

# A client that leaves ends its session; one that a restart has ended already answers 404 to that too, as the specification has it, and
# the client warns. Any other warning is shown.
logging.getLogger("mcp.client.streamable_http").addFilter(
    lambda record: record.getMessage() != "Session termination failed: 404"
)


async def run(mode, revision):
    heard = Heard()
    async with http_with() as http:

        def connect():
            return Client(streamable_http_client(URL, http_client=http), mode=mode, message_handler=heard)

        async with connect() as client:
            check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
            listed = await look(client)
            component = await work(client)
            await watch(client, heard, component)
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
        async with connect() as client:
            await wait_until_live(client)
            await work(client)
            await watch(client, heard, component)
    return f"{revision}, {len(listed)} tools, moved {component} and put it back, went on after a restart"


async def over_sse(mode, revision):
    heard = Heard()
    headers = {"Authorization": f"Bearer {KEY}"}
    for turn in range(2):
        async with Client(sse_client(SSE_URL, headers=headers), mode=mode, message_handler=heard) as client:
            check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
            await look(client)
            await wait_until_live(client)
            component = await work(client)
            await watch(client, heard, component)
        if turn == 0:
            await restart()
    return f"{revision}, moved {component} and put it back, connected again after a restart"


asyncio.run(
    run_cases(
        "mcp_client.py",
        {
            "http, auto": partial(run, "auto", MODERN),
            "http, legacy": partial(run, "legacy", LEGACY),
            "http, pinned": partial(run, MODERN, MODERN),
            "sse, legacy": partial(over_sse, "legacy", LEGACY),
            "sse, auto": partial(over_sse, "auto", MODERN),
        },
    )
)
