"""The official Python client, modern and legacy, does a technician's work: look, read, set, see it arrive, put it back.

URL and KEY come from the environment. Leaves with a failing code and one sentence on the first thing that is not as it should be.
"""

import asyncio
import os
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["URL"]
KEY = os.environ["KEY"]
MODES = {"auto": "2026-07-28", "legacy": "2025-11-25"}
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


async def run(mode, revision):
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
        async with Client(streamable_http_client(URL, http_client=http), mode=mode) as client:
            check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            check(TOOLS <= listed.keys(), f"not listed: {sorted(TOOLS - listed.keys())}")
            for tool in listed.values():
                check(tool.output_schema and tool.annotations, f"{tool.name} lacks output schema or hints")
            component = await work(client)
            await faults(client, component)
            print(f"   {mode}: {revision}, {len(listed)} tools, moved {component} and put it back")


async def refused():
    """Without the right key the way to one is told."""
    for headers in ({}, {"Authorization": f"Bearer {KEY[:-1]}"}):
        async with httpx2.AsyncClient(headers=headers) as http:
            answer = await http.post(URL, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
            check(answer.status_code == 401, f"a wrong key was answered with {answer.status_code}")
            check("key" in answer.json()["error"]["message"], f"the refusal does not help: {answer.text}")


def reasons(error):
    """What went wrong, out of the groups in which task groups wrap it."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(reasons(inner) for inner in error.exceptions)
    return str(error) if isinstance(error, Wrong) else repr(error)


async def main():
    await refused()
    for mode, revision in MODES.items():
        try:
            await run(mode, revision)
        except Exception as error:
            sys.exit(f"mcp_client.py, mode {mode}: {reasons(error)}")


if __name__ == "__main__":
    asyncio.run(main())
