// Version 1 of the official TypeScript client, which most hosts embed: over HTTP, over HTTP+SSE, and through the bridge as desktop
// hosts do.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { check, headers, key, program, restart, run, url, watch, work } from './work.mjs';

const REVISION = '2025-11-25';
const heard = {};

async function connect(transport) {
  const client = new Client({ name: 'v1', version: '1' });
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => heard.updated?.(params.uri));
  await client.connect(transport);
  return client;
}

/** A technician's work, and news of a change. */
async function workAndWatch(client) {
  const component = await work(client);
  const subscribe = async (uri) => {
    await client.subscribeResource({ uri });
    return () => client.unsubscribeResource({ uri });
  };
  await watch(client, component, subscribe, heard);
  return component;
}

async function overHttp() {
  const open = () => new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  let transport = open();
  let client = await connect(transport);
  check(transport.protocolVersion === REVISION, `${transport.protocolVersion} was agreed, not ${REVISION}`);
  const component = await workAndWatch(client);
  await restart(client, async (again) => {
    // This client tells its host that the session is gone, and the host connects again.
    const gone = await again().then(() => null, (error) => error);
    check(gone?.code === 404 || /404/.test(gone), `a session that is gone was answered with ${gone}`);
    await client.close();
    transport = open();
    client = await connect(transport);
  });
  await workAndWatch(client);
  await transport.terminateSession();
  await client.close();
  return `moved ${component}, connected again after a restart`;
}

async function overSse() {
  const transport = new SSEClientTransport(new URL(url.replace(/mcp$/, 'sse')), {
    requestInit: { headers },
    eventSourceInit: { fetch: (to, init) => fetch(to, { ...init, headers: { ...init.headers, ...headers } }) },
  });
  const client = await connect(transport);
  const component = await workAndWatch(client);
  await client.close();
  return `moved ${component}`;
}

async function throughTheBridge() {
  const transport = new StdioClientTransport({
    command: program,
    args: ['stdio', '--url', url],
    env: { RACKHAND_KEY: key },
  });
  const client = await connect(transport);
  const component = await workAndWatch(client);
  await restart(client);
  await workAndWatch(client);
  await client.close();
  return `moved ${component}, and saw nothing of a restart`;
}

await run('v1_client.mjs', {
  'http, 2025-11-25': overHttp,
  'sse, 2025-11-25': overSse,
  'stdio, 2025-11-25': throughTheBridge,
});
