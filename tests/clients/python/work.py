"""What a technician does, whichever way the client came: look, read, set, see it arrive, put it back, be helped after a mistake.

The clients beside this file leave with a failing code and one sentence on the first thing that is not as it should be.
"""

import asyncio
import json
import os
import socket
import sys
from urllib.parse import quote

import httpx2
from mcp import MCPError
from mcp.client.subscriptions import ResourceUpdated
from mcp_types import ResourceUpdatedNotification

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
NEWS_SECS = 10


MODERN = "2026-07-28"
LEGACY = "2025-11-25"


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


class Heard:
    """What came without being asked for; the message handler of an older client."""

    def __init__(self):
        self.updated = asyncio.Queue()

    async def __call__(self, message):
        if isinstance(message, ResourceUpdatedNotification):
            self.updated.put_nowait(str(message.params.uri))


async def gain_of(client, uri):
    contents = (await client.read_resource(uri)).contents
    check(len(contents) == 1 and contents[0].mime_type == "application/json", f"{uri} is read as {contents}")
    return json.loads(contents[0].text)["value"]


async def watch(client, heard, component):
    """Hears that a control moved, and reads where it went."""
    listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
    check("qsys://overview" in listed, f"not listed: qsys://overview, but {listed}")
    templates = [template.uri_template for template in (await client.list_resource_templates()).resource_templates]
    check("qsys://control/{component}/{control}" in templates, f"no template for a control, but {templates}")
    uri = f"qsys://control/{quote(component)}/gain"
    before = await gain_of(client, uri)
    target = before - 1.5
    if client.protocol_version == MODERN:
        async with client.listen(resource_subscriptions=[uri]) as subscription:
            check(list(subscription.honored.resource_subscriptions) == [uri], f"{uri} is not watched, but {subscription.honored}")
            await write(client, component, target)
            event = await asyncio.wait_for(anext(aiter(subscription)), NEWS_SECS)
            check(isinstance(event, ResourceUpdated) and event.uri == uri, f"heard {event} instead of news of {uri}")
    else:
        await client.subscribe_resource(uri)
        await write(client, component, target)
        told = await asyncio.wait_for(heard.updated.get(), NEWS_SECS)
        check(told == uri, f"heard of {told}, not of {uri}")
        await client.unsubscribe_resource(uri)
    now = await gain_of(client, uri)
    check(abs(now - target) < 0.01, f"read {now} after hearing of {target}")
    await write(client, component, before)


async def faults(client, component):
    """Wrong calls get answers that help."""
    wrong = await client.call_tool("qsys_get_controls", {"controls": [{"component": component + "x", "control": "gain"}]})
    text = " ".join(part.text for part in wrong.content)
    check(component in text, f"a wrong component name is not answered with the nearest one, but with: {text}")
    bad = await client.call_tool("qsys_get_controls", {"control": "gain"})
    check(bad.is_error, "wrong arguments were taken")
    text = " ".join(part.text for part in bad.content)
    check(text.startswith("BAD_ARGUMENTS") and '"hint"' in text, f"wrong arguments gave: {text}")
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
