// What a technician does, whichever client does it: look, read, set, see it arrive, put it back; and go on after a restart.

import net from 'node:net';

export const { URL: url, KEY: key, PROGRAM: program } = process.env;
export const headers = { Authorization: `Bearer ${key}` };

const LIVE_SECS = 30;
const CHANGE_SECS = 20;
const NEWS_SECS = 10;

/** Ends the client with one sentence. */
export function check(condition, sentence) {
  if (!condition) throw new Error(sentence);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Has the runner do something with the demo: stop, start or restart. */
export function control(command) {
  return new Promise((done, fail) => {
    const socket = net.connect(Number(process.env.CONTROL), '127.0.0.1', () => socket.write(`${command}\n`));
    socket.on('error', fail);
    socket.once('data', (data) => {
      socket.end();
      const said = data.toString().trim();
      said === 'ok' ? done() : fail(new Error(`${command}: ${said}`));
    });
  });
}

/** The structured answer of a call that must succeed. */
async function call(client, tool, args) {
  const result = await client.callTool({ name: tool, arguments: args });
  const text = result.content.map((part) => part.text).join(' ');
  check(!result.isError, `${tool} failed: ${text}`);
  check(text && result.structuredContent, `${tool} answered without a text or without structured content`);
  return result.structuredContent;
}

async function untilLive(client) {
  let link;
  for (let n = 0; n < LIVE_SECS * 2; n++) {
    ({ link } = await call(client, 'qsys_get_overview', {}));
    if (link === 'live') return;
    await pause(500);
  }
  throw new Error(`the link was not live after ${LIVE_SECS} s, but ${link}`);
}

async function write(client, component, value, more = {}) {
  const changes = [{ component, control: 'gain', value, ...more }];
  const { changes: [row] } = await call(client, 'qsys_set_controls', { changes, reason: 'test of a real client' });
  check(row.outcome === 'written', `the write of ${value} ended as ${row.outcome}`);
  return row.value;
}

async function read(client, component) {
  const controls = [{ component, control: 'gain' }];
  const { controls: [row] } = await call(client, 'qsys_get_controls', { controls });
  check(row.quality === 'live', `${component} gain is ${row.quality}, not live`);
  return row.value;
}

/** Lists, reads, sets, waits for a change to arrive, and puts everything back. */
export async function work(client) {
  const { tools } = await client.listTools();
  check(tools.some((tool) => tool.name === 'qsys_set_controls'), 'qsys_set_controls is not listed');
  await untilLive(client);
  const { components: [{ component }] } = await call(client, 'qsys_list_components', { type: 'gain' });
  // The client has the output schemas by now, and holds every result against them.
  const wrong = await client.callTool({ name: 'qsys_get_component', arguments: { component: 'No such thing' } });
  check(wrong.isError && /NOT_FOUND/.test(wrong.content[0].text), 'a mistake did not come back as one that can be mended');
  const before = await read(client, component);
  const target = Math.abs(before + 12) > 1 ? -12 : -18;
  check((await write(client, component, target)) === target, `not read back as ${target}`);
  const arrival = target - 3;
  const waiting = call(client, 'qsys_wait_for_change', {
    controls: [{ component, control: 'gain' }],
    condition: { equals: arrival },
    timeout_s: CHANGE_SECS,
  });
  await pause(200);
  await write(client, component, arrival, { ramp_s: 0.5 });
  const { outcome } = await waiting;
  check(outcome === 'condition_met', `the wait for the ramp ended as ${outcome}`);
  await write(client, component, before);
  check((await read(client, component)) === before, 'it was not put back');
  return component;
}

/**
 * Hears that a control moved, and reads where it went. `subscribe` watches a URI and gives back how to stop; `heard` is told what came.
 */
export async function watch(client, component, subscribe, heard) {
  const { resources } = await client.listResources();
  check(resources.some(({ uri }) => uri === 'qsys://overview'), 'qsys://overview is not listed');
  const uri = `qsys://control/${encodeURIComponent(component)}/gain`;
  const value = async () => {
    const { contents: [content] } = await client.readResource({ uri });
    return JSON.parse(content.text).value;
  };
  const before = await value();
  const stop = await subscribe(uri);
  const news = new Promise((done, fail) => {
    heard.updated = done;
    setTimeout(() => fail(new Error(`nothing was heard of ${uri}`)), NEWS_SECS * 1000).unref();
  });
  await write(client, component, before - 1.5);
  const told = await news;
  check(told === uri, `heard of ${told}, not of ${uri}`);
  check((await value()) === before - 1.5, 'what was read after the news is something else');
  await stop();
  await write(client, component, before);
}

/** Restarts the demo under the hands of the client, which goes on as if nothing had been, or as `recover` says. */
export async function restart(client, recover = (again) => again()) {
  await control('restart');
  await recover(() => untilLive(client));
}

/** Runs each of the cases, and leaves with a failing code on the first one that is not as it should be. */
export async function run(name, cases) {
  for (const [title, step] of Object.entries(cases)) {
    try {
      console.log(`   ${title}: ${await step()}`);
    } catch (error) {
      console.error(`${name}, ${title}:`, error);
      process.exit(1);
    }
  }
  process.exit(0);
}
