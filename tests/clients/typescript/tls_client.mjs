// The official TypeScript client over TLS. Node takes the authority of a box from the file that NODE_EXTRA_CA_CERTS names, at its start.

import { execFileSync } from 'node:child_process';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { check, run, work } from './work.mjs';

const { TLS_URL: url, TLS_KEY: key, TLS_CA: authority } = process.env;

async function connect() {
  const headers = { Authorization: `Bearer ${key}` };
  const client = new Client({ name: 'tls', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  return client;
}

/** The work, in a Node that was started with the authority. */
async function withTheAuthority() {
  const environment = { ...process.env, NODE_EXTRA_CA_CERTS: authority, AS_CLIENT: '1' };
  return execFileSync(process.execPath, [process.argv[1]], { env: environment, encoding: 'utf8' }).trim();
}

async function withoutTheAuthority() {
  const refused = await connect().then(() => null, (error) => error);
  const why = `${refused} ${refused?.cause?.code}`;
  check(/CERT|certificate|fetch failed/i.test(why), `it was taken, or refused for another reason: ${why}`);
  return 'refused';
}

if (process.env.AS_CLIENT) {
  const client = await connect();
  console.log(`moved ${await work(client)}`);
  process.exit(0);
}

await run('tls_client.mjs', {
  'https with NODE_EXTRA_CA_CERTS': withTheAuthority,
  'https without the authority': withoutTheAuthority,
});
