// Version 2 of the official TypeScript client: by itself, asked to find the newest revision, pinned to it, and through the bridge.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { check, headers, key, program, restart, run, url, watch, work } from './work.mjs';

const MODERN = '2026-07-28';
const LEGACY = '2025-11-25';

const heard = {};

const http = () => new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
const bridge = () => new StdioClientTransport({ command: program, args: ['stdio', '--url', url], env: { RACKHAND_KEY: key } });

async function connect(mode, transport) {
  const client = new Client({ name: 'v2', version: '1' }, mode && { versionNegotiation: { mode } });
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => heard.updated?.(params.uri));
  await client.connect(transport);
  return client;
}

/** A technician's work, and news of a change. */
async function workAndWatch(client) {
  const component = await work(client);
  const subscribe = async (uri) => {
    if (client.getNegotiatedProtocolVersion() !== MODERN) {
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    }
    const subscription = await client.listen({ resourceSubscriptions: [uri] });
    check(subscription.honoredFilter.resourceSubscriptions[0] === uri, `${uri} is not watched`);
    return async () => {
      await subscription.close();
      check((await subscription.closed) === 'local', 'the subscription was ended by somebody else');
    };
  };
  await watch(client, component, subscribe, heard);
  return component;
}

function through(open, mode, revision) {
  return async () => {
    let client = await connect(mode, open());
    const agreed = client.getNegotiatedProtocolVersion();
    check(agreed === revision, `${agreed} was agreed, not ${revision}`);
    const component = await workAndWatch(client);
    await restart(client, async (again) => {
      if (open === bridge || revision === MODERN) return again();
      const gone = await again().then(() => null, (error) => error);
      check(/404|session/i.test(gone), `a session that is gone was answered with ${gone}`);
      await client.close();
      client = await connect(mode, open());
    });
    await workAndWatch(client);
    await client.close();
    return `${revision}, moved ${component}, went on after a restart`;
  };
}

await run('v2_client.mjs', {
  'http, by itself': through(http, undefined, LEGACY),
  'http, auto': through(http, 'auto', MODERN),
  'http, pinned': through(http, { pin: MODERN }, MODERN),
  'stdio, auto': through(bridge, 'auto', MODERN),
  'stdio, by itself': through(bridge, undefined, LEGACY),
});
