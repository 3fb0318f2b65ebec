// A day's work of the real client against the default design: start, reads, writes, updates, being cut off, a fresh start.
//
//   node work.mjs <0.4.1|0.5.0> <url> <control address>

import assert from 'node:assert/strict'
import { RecordedSocket, client, controlPort, event } from './common.mjs'

const [version, url, controlAddress] = process.argv.slice(2)
const Qrwc = await client(version)
const control = await controlPort(controlAddress)
const logger = { error: fault => console.error(fault) }
const start = () => Qrwc.createQrwc({ socket: new RecordedSocket(url), pollingInterval: 100, timeout: 20_000, logger })
const settled = async (emitter, wanted, act) => {
  const update = event(emitter, 'update', wanted)
  await act()
  return update
}

let qrwc = await start()
const names = Object.keys(qrwc.components)
assert.ok(names.length >= 40, `${names.length} components`)
assert.ok(!names.includes('Alarm Override'), 'Script Access None is invisible')
if (version === '0.5.0') assert.equal(qrwc.engineStatus.Platform, 'Core 110f')

const gain = qrwc.components['Hall B Gain'].controls.gain
const mute = qrwc.components['Hall B Gain'].controls.mute
assert.equal(gain.state.Direction, 'Read/Write')
await settled(gain, state => state.Value === -33, () => control('set', 'Hall B Gain', 'gain', -33))

assert.equal((await gain.update(-18)).String, '-18.0dB')
assert.equal((await gain.update(500)).Value, 20, 'values clamp')
assert.equal((await mute.update(true)).String, 'muted')
assert.equal((await qrwc.components['Wall Panel'].controls['text.1'].update('Hello')).String, 'Hello')
assert.match(await control('get', 'Hall B Gain', 'mute'), /^1 muted/)
const sealed = await qrwc.components['Core Status'].controls.status.update(2)
assert.equal(sealed.Value, 0, 'read-only controls stay')

// A snapshot recalled by its controller moves what it holds, and the poll tells.
const recalled = qrwc.components['House Scenes'].controls['load.1']
await settled(gain, state => state.Value === -6, () => recalled.update(1))
await settled(qrwc.components['Input Meters'].controls['meter.1'], () => true, async () => undefined)

for (const cut of ['close', 'reset']) {
  qrwc.on('error', () => undefined)
  const disconnected = event(qrwc, 'disconnected')
  await control(cut)
  assert.match(await disconnected, /closed/)
  qrwc = await start()
  assert.equal(Object.keys(qrwc.components).length, names.length, `a fresh start after ${cut}`)
  assert.equal(qrwc.components['Hall B Gain'].controls.gain.state.Value, -6)
}
qrwc.close()
control.end()
console.log(`${version} ${new URL(url).protocol} works`)
process.exit(0)
