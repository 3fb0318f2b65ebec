"""The official Python client on standard input and output, through the bridge: a restart of the box is nothing that it sees."""

import asyncio
import os
from functools import partial

from mcp import Client, StdioServerParameters

from work import KEY, URL, check, faults, look, restart, run_cases, wait_until_live, work


async def run(mode, revision):
    bridge = StdioServerParameters(
        command=os.environ["PROGRAM"], args=["stdio", "--url", URL], env={"RACKHAND_KEY": KEY}
    )
    async with Client(bridge, mode=mode) as client:
        check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
        await look(client)
        component = await work(client)
        await faults(client, component)
        await restart()
        await wait_until_live(client)
        await work(client)
    return f"{revision}, moved {component}, and saw nothing of a restart"


asyncio.run(
    run_cases("stdio_client.py", {"auto": partial(run, "auto", "2026-07-28"), "legacy": partial(run, "legacy", "2025-11-25")})
)
