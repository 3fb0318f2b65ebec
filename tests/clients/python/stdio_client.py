"""The official Python client on standard input and output: through the bridge, where a restart of the box is nothing that it sees, and
with a service of its own."""

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


async def alone(mode, revision):
    service = StdioServerParameters(command=os.environ["PROGRAM"], args=["stdio", "--log", "warn", "--config", os.environ["CONFIG"]])
    async with Client(service, mode=mode) as client:
        check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
        await look(client)
        component = await work(client)
        await faults(client, component)
    return f"{revision}, moved {component}"


asyncio.run(
    run_cases(
        "stdio_client.py",
        {
            "bridge, auto": partial(run, "auto", "2026-07-28"),
            "bridge, legacy": partial(run, "legacy", "2025-11-25"),
            "service, auto": partial(alone, "auto", "2026-07-28"),
            "service, legacy": partial(alone, "legacy", "2025-11-25"),
        },
    )
)
