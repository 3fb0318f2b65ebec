"""What a technician does, whichever way the client came: look, read, set, see it arrive, put it back, be helped after a mistake.

The clients beside this file leave with a failing code and one sentence on the first thing that is not as it should be.
"""

import asyncio
import os
import socket
import sys

import httpx2
from mcp import MCPError

URL = os.environ["URL"]
KEY = os.environ["KEY"]
TOOLS = {
    "qsys_get_overview",
    "qsys_list_components",
    "qsys_get_controls",
    "qsys_set_controls",
    "qsys_wait_for_change",
}
LIVE_SECS = 30


class Wrong(Exception):
    """Something is not as it should be."""


def check(condition, sentence):
    if not condition:
        raise Wrong(sentence)


async def call(client, tool, arguments):
    """The structured answer of a call that must succeed."""
    result = await client.call_tool(tool, arguments)
    text = " ".join(part.text for part in result.content)
    check(not result.is_error, f"{tool} failed: {text}")
    check(text, f"{tool} answered without a text")
    check(isinstance(result.structured_content, dict), f"{tool} answered without structured content")
    return result.structured_content


async def wait_until_live(client):
    for _ in range(LIVE_SECS * 2):
        overview = await call(client, "qsys_get_overview", {})
        if overview["link"] == "live":
            return overview
        await asyncio.sleep(0.5)
    raise Wrong(f"the link was not live after {LIVE_SECS} s, but {overview['link']!r}")


async def find_gain(client):
    """Code Name of a component with a control named `gain`."""
    listed = await call(client, "qsys_list_components", {"type": "gain", "limit": 500})
    check(listed["components"], "the design has no component of type gain")
    return listed["components"][0]["component"]


async def read(client, component):
    answer = await call(client, "qsys_get_controls", {"controls": [{"component": component, "control": "gain"}]})
    row = answer["controls"][0]
    check(row["quality"] == "live", f"{component} gain is {row['quality']}, not live")
    return row["value"]


async def write(client, component, value, **more):
    change = {"component": component, "control": "gain", "value": value, **more}
    answer = await call(client, "qsys_set_controls", {"changes": [change], "reason": "test of a real client"})
    row = answer["changes"][0]
    check(row["outcome"] == "written", f"the write of {value} ended as {row['outcome']}")
    return row


async def work(client):
    overview = await wait_until_live(client)
    check(overview["components"] >= 1, "the overview counts no components")
    component = await find_gain(client)
    before = await read(client, component)

    target = -12.0 if abs(before + 12.0) > 1.0 else -18.0
    row = await write(client, component, target, expect={"value": before})
    check(abs(row["value"] - target) < 0.01, f"read back {row['value']} after writing {target}")
    now = await read(client, component)
    check(abs(now - target) < 0.01, f"read {now} after writing {target}")

    arrival = target - 3.0
    waiting = asyncio.create_task(
        call(
            client,
            "qsys_wait_for_change",
            {
                "controls": [{"component": component, "control": "gain"}],
                "condition": {"equals": arrival},
                "timeout_s": 20,
            },
        )
    )
    await asyncio.sleep(0.2)
    await write(client, component, arrival, ramp_s=0.5)
    waited = await waiting
    check(waited["outcome"] == "condition_met", f"the wait for the ramp ended as {waited['outcome']}")

    await write(client, component, before)
    return component


async def faults(client, component):
    """Wrong calls get answers that help."""
    wrong = await client.call_tool("qsys_get_controls", {"controls": [{"component": component + "x", "control": "gain"}]})
    text = " ".join(part.text for part in wrong.content)
    check(component in text, f"a wrong component name is not answered with the nearest one, but with: {text}")
    bad = await client.call_tool("qsys_get_controls", {"control": "gain"})
    check(bad.is_error, "wrong arguments were taken")
    check(bad.structured_content["code"] == "BAD_ARGUMENTS", f"wrong arguments gave {bad.structured_content}")
    check(any("hint" in problem for problem in bad.structured_content["data"]), "BAD_ARGUMENTS lists no hints")
    try:
        await client.call_tool("qsys_get_contrls", {})
    except MCPError as error:
        check("qsys_get_controls" in str(error), f"an unknown tool is not answered with the nearest one, but with: {error}")
    else:
        raise Wrong("an unknown tool was taken")


def control(command):
    """Has the runner do something with the demo: stop, start or restart."""
    with socket.create_connection(("127.0.0.1", int(os.environ["CONTROL"]))) as runner:
        runner.sendall(f"{command}\n".encode())
        said = runner.makefile().readline().strip()
    check(said == "ok", f"{command}: {said}")


async def restart():
    await asyncio.to_thread(control, "restart")


def http_with(key=KEY):
    """An HTTP client that sends a key, or none."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.AsyncClient(headers=headers, timeout=60)


async def look(client):
    """Lists the tools and holds that they are described."""
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    check(TOOLS <= listed.keys(), f"not listed: {sorted(TOOLS - listed.keys())}")
    for tool in listed.values():
        check(tool.output_schema and tool.annotations, f"{tool.name} lacks output schema or hints")
    return listed


def reasons(error):
    """What went wrong, out of the groups in which task groups wrap it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(reasons(inner) for inner in error.exceptions)
    return str(error) if isinstance(error, Wrong) else repr(error)


async def run_cases(name, cases):
    """Runs each of the cases; each returns what is worth telling."""
    for title, case in cases.items():
        try:
            print(f"   {title}: {await case()}", flush=True)
        except Exception as error:
            sys.exit(f"{name}, {title}: {reasons(error)}")
