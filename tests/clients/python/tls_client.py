"""Over TLS, with the authority from /ca.pem: the official Python client, curl, and the bridge with each way of knowing the box."""

import asyncio
import json
import os
import ssl
import subprocess
from functools import partial

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from work import LEGACY, MODERN, Heard, check, look, run_cases, wait_until_live, watch, work

URL = os.environ["TLS_URL"]
KEY = os.environ["TLS_KEY"]
CA = os.environ["TLS_CA"]
PROGRAM = os.environ["PROGRAM"]


async def over_https(mode, revision):
    trust = ssl.create_default_context(cafile=CA)
    headers = {"Authorization": f"Bearer {KEY}"}
    heard = Heard()
    async with httpx2.AsyncClient(headers=headers, timeout=60, verify=trust) as http:
        async with Client(streamable_http_client(URL, http_client=http), mode=mode, message_handler=heard) as client:
            check(client.protocol_version == revision, f"{client.protocol_version} was agreed, not {revision}")
            await look(client)
            await wait_until_live(client)
            component = await work(client)
            await watch(client, heard, component)
    return f"{revision}, moved {component}"


async def without_the_authority():
    async with httpx2.AsyncClient(timeout=10) as http:
        try:
            await http.get(URL)
        except httpx2.ConnectError as fault:
            check("certificate" in str(fault).lower(), f"refused for another reason: {fault}")
            return "refused"
    raise AssertionError("a certificate was taken that nobody vouched for")


async def curl():
    said = []
    for version in ("--http1.1", "--http2"):
        live = URL.replace("/mcp", "/livez")
        command = ["curl", "--silent", "--show-error", "--cacert", CA, version, "--write-out", " %{http_version}", live]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        body, spoken = result.stdout.rsplit(" ", 1)
        said.append((json.loads(body)["status"], spoken))
    check(said == [("alive", "1.1"), ("alive", "2")], f"curl heard {said}")
    return "HTTP/1.1 and HTTP/2"


async def through_the_bridge(options):
    bridge = StdioServerParameters(command=PROGRAM, args=["stdio", "--url", URL, *options], env={"RACKHAND_KEY": KEY})
    async with Client(bridge, message_handler=Heard()) as client:
        await wait_until_live(client)
        component = await work(client)
    return f"moved {component}"


async def to_another_box():
    options = ["stdio", "--url", URL, "--fingerprint", "sha256:" + "ab" * 32]
    ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    result = subprocess.run([PROGRAM, *options], input=ping, capture_output=True, text=True, timeout=30)
    check("shows another certificate" in result.stdout, f"said {result.stdout!r}")
    check(os.environ["TLS_LEAF"] in result.stdout, "the certificate that is shown is not named")
    return "refused, with the fingerprint that was shown"


asyncio.run(
    run_cases(
        "tls_client.py",
        {
            "https, auto": partial(over_https, "auto", MODERN),
            "https, legacy": partial(over_https, "legacy", LEGACY),
            "https without the authority": without_the_authority,
            "curl": curl,
            "bridge, pinned authority": partial(through_the_bridge, ["--fingerprint", f"sha256:{os.environ['TLS_AUTHORITY']}"]),
            "bridge, pinned certificate": partial(through_the_bridge, ["--fingerprint", os.environ["TLS_LEAF"]]),
            "bridge, authority in a file": partial(through_the_bridge, ["--ca", CA]),
            "bridge, another box": to_another_box,
        },
    )
)
