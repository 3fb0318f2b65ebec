// Version 1 of the official TypeScript client, which most hosts embed: over HTTP, and through the bridge as desktop hosts do.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { check, headers, key, program, restart, run, url, work } from './work.mjs';

const REVISION = '2025-11-25';

async function connect(transport) {
  const client = new Client({ name: 'v1', version: '1' });
  await client.connect(transport);
  return client;
}

async function overHttp() {
  const open = () => new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  let transport = open();
  let client = await connect(transport);
  check(transport.protocolVersion === REVISION, `${transport.protocolVersion} was agreed, not ${REVISION}`);
  const component = await work(client);
  await restart(client, async (again) => {
    // This client tells its host that the session is gone, and the host connects again.
    const gone = await again().then(() => null, (error) => error);
    check(gone?.code === 404 || /404/.test(gone), `a session that is gone was answered with ${gone}`);
    await client.close();
    transport = open();
    client = await connect(transport);
  });
  await work(client);
  await transport.terminateSession();
  await client.close();
  return `moved ${component}, connected again after a restart`;
}

async function throughTheBridge() {
  const transport = new StdioClientTransport({
    command: program,
    args: ['stdio', '--url', url],
    env: { RACKHAND_KEY: key },
  });
  const client = await connect(transport);
  const component = await work(client);
  await restart(client);
  await work(client);
  await client.close();
  return `moved ${component}, and saw nothing of a restart`;
}

await run('v1_client.mjs', { 'http, 2025-11-25': overHttp, 'stdio, 2025-11-25': throughTheBridge });
