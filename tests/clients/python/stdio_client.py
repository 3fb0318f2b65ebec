"""The official Python client on standard input and output: through the bridge, where a restart of the box is nothing that it sees, and
with a service of its own."""

import asyncio
import os
from functools import partial
from urllib.parse import quote

from mcp import Client, StdioServerParameters

from work import (
    KEY,
    LEGACY,
    MODERN,
    URL,
    Heard,
    check,
    faults,
    look,
    restart,
    run_cases,
    wait_until_live,
    watch,
    work,
    write,
)


async def run(mode, revision):
    bridge = StdioServerParameters(
        command=os.environ["PROGRAM"], args=["stdio", "--url", URL], env={"RACKHAND_KEY": KEY}
    )
    heard = Heard()
    async with Client(bridge, mode=mode, message_handler=heard) as client:
        check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
        await look(client)
        component = await work(client)
        await watch(client, heard, component)
        await faults(client, component)
        if revision == LEGACY:
            await stay_subscribed(client, heard, component)
        else:
            await restart()
        await wait_until_live(client)
        await work(client)
        await watch(client, heard, component)
    return f"{revision}, moved {component}, and saw nothing of a restart"


async def stay_subscribed(client, heard, component):
    """What was subscribed to before a restart is announced after it, and heard of from then on."""
    uri = f"qsys://control/{quote(component)}/gain"
    await client.subscribe_resource(uri)
    await restart()
    told = await asyncio.wait_for(heard.updated.get(), 30)
    check(told == uri, f"heard of {told}, not of {uri}")
    await wait_until_live(client)
    await asyncio.sleep(1)
    while not heard.updated.empty():
        heard.updated.get_nowait()
    await write(client, component, -23.5)
    await asyncio.wait_for(heard.updated.get(), 10)
    await client.unsubscribe_resource(uri)
    await write(client, component, -20)


async def alone(mode, revision):
    service = StdioServerParameters(command=os.environ["PROGRAM"], args=["stdio", "--log", "warn", "--config", os.environ["CONFIG"]])
    heard = Heard()
    async with Client(service, mode=mode, message_handler=heard) as client:
        check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
        await look(client)
        component = await work(client)
        await watch(client, heard, component)
        await faults(client, component)
    return f"{revision}, moved {component}"


asyncio.run(
    run_cases(
        "stdio_client.py",
        {
            "bridge, auto": partial(run, "auto", MODERN),
            "bridge, legacy": partial(run, "legacy", LEGACY),
            "service, auto": partial(alone, "auto", MODERN),
            "service, legacy": partial(alone, "legacy", LEGACY),
        },
    )
)
