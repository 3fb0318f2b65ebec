"""What a person meets who got something wrong, over HTTP and through the bridge: a sentence that says what to do."""

import asyncio
import os
import subprocess
import tempfile
from functools import partial

from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from work import KEY, URL, Wrong, check, control, http_with, reasons, restart, run_cases

PROGRAM = os.environ["PROGRAM"]
WRONG_KEY = KEY[:-1]
WRONG_URL = URL.removesuffix("/mcp") + "/elsewhere"


def bridge(url, key, log):
    command = StdioServerParameters(command=PROGRAM, args=["stdio", "--url", url], env={"RACKHAND_KEY": key})
    return Client(stdio_client(command, errlog=log))


async def sentence(url, key):
    """What the server says to a client that does nothing but ask."""
    async with http_with(key) as http:
        answer = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    try:
        return answer.status_code, answer.json()["error"]["message"]
    except ValueError:
        return answer.status_code, answer.text


async def over_http(url, key, status, words):
    got, said = await sentence(url, key)
    check(got == status, f"answered with {got}, not {status}: {said}")
    check(words in said, f"this does not help: {said}")
    try:
        async with http_with(key) as http, Client(streamable_http_client(url, http_client=http)) as client:
            await client.list_tools()
    except Exception:
        return said.strip()
    raise Wrong("the client connected")


async def through_the_bridge(url, key, *words):
    with tempfile.TemporaryFile("w+") as log:
        try:
            async with bridge(url, key, log) as client:
                await client.list_tools()
        except Exception as error:
            said = reasons(error)
        else:
            raise Wrong("the client connected")
        log.seek(0)
        logged = log.read()
    for word in words:
        check(word in said, f"this does not help: {said}")
        check(word in logged, f"this is not on standard error: {logged}")
    return said


async def stopped_box():
    """A box that stops while a client works, and one that was never there."""
    said = []
    async with bridge(URL, KEY, subprocess.DEVNULL) as client:
        await client.list_tools()
        await asyncio.to_thread(control, "stop")
        try:
            try:
                await client.call_tool("qsys_get_overview", {})
            except MCPError as error:
                said.append(str(error))
            said.append(await through_the_bridge(URL, KEY, "cannot be reached", "Check that it runs"))
        finally:
            await asyncio.to_thread(control, "start")
        check(len(said) == 2 and "nothing was sent" in said[0], f"a call to a box that is off was told as {said}")
        result = await client.call_tool("qsys_get_overview", {})
        check(not result.is_error, "the box came back, and the client did not notice")
    return said[0]


async def stopped_core():
    """A box whose Core is not there answers, and says what is wrong with a write."""
    url, key = os.environ["LONELY_URL"], os.environ["LONELY_KEY"]
    changes = [{"component": "Hall Gain", "control": "gain", "value": -20}]
    async with http_with(key) as http, Client(streamable_http_client(url, http_client=http)) as client:
        overview = await client.call_tool("qsys_get_overview", {})
        check(not overview.is_error, f"the overview failed: {overview}")
        check(overview.structured_content["link"] != "live", "the link is live without a Core")
        link = await client.call_tool("qsys_get_link_status", {})
        write = await client.call_tool("qsys_set_controls", {"changes": changes, "reason": "test of a real client"})
        check(write.is_error, "a write without a Core was taken")
        text = write.content[0].text
        check("qsys_get_link_status" in text or "Core" in text, f"this does not help: {text}")
        check("127.0.0.1" in link.content[0].text or "reached" in link.content[0].text, f"this does not help: {link}")
    return text


async def forgiven():
    """After that many wrong keys this address has to wait; a restart forgets it, for the clients that come next."""
    await restart()
    return "the next client may come"


asyncio.run(
    run_cases(
        "faults_client.py",
        {
            "stopped box, bridge": stopped_box,
            "stopped Core": stopped_core,
            "wrong URL": partial(over_http, WRONG_URL, KEY, 404, "The MCP endpoint is /mcp"),
            "wrong URL, bridge": partial(through_the_bridge, WRONG_URL, KEY, "ends in /mcp"),
            "no key": partial(over_http, URL, "", 401, "Authorization: Bearer"),
            "no key, bridge": partial(through_the_bridge, URL, "", "RACKHAND_KEY"),
            "wrong key": partial(over_http, URL, WRONG_KEY, 401, "rackhand key new"),
            "wrong key, bridge": partial(through_the_bridge, URL, WRONG_KEY, "rackhand key new", "RACKHAND_KEY"),
            "forgiven": forgiven,
        },
    )
)
