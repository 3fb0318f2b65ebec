// Plays the scenes of the golden trace with the real client against the simulated Core and compares all frames.
//
//   node golden.mjs <ws url> <control address> <trace.jsonl>
//
// Client frames must be equal; Core frames must be equal in keys, types and order, and their values too, save positions (single
// precision on the wire) and texts of errors. Ids are normalised, the blocks of GetControls and of Add are compared as sets, and
// polls without changes are left out, since their number is a matter of timing.

import assert from 'node:assert/strict'
import fs from 'node:fs'
import { RecordedSocket, client, controlPort, event } from './common.mjs'

const [url, controlAddress, tracePath] = process.argv.slice(2)
const control = await controlPort(controlAddress)
const trace = fs.readFileSync(tracePath, 'utf8').trim().split('\n').map(line => JSON.parse(line))

/** Long enough that the scenes in between take place between two polls, as they do in the trace. */
const pollingInterval = 1_500

const isPollAnswer = ({ direction, frame }, frames) =>
  direction === 'core->client' && frames.some(other => other.frame.method === 'ChangeGroup.Poll' && other.frame.id === frame.id)

async function play050() {
  const Qrwc = await client('0.5.0')
  const socket = new RecordedSocket(url)
  const qrwc = await Qrwc.createQrwc({ socket, pollingInterval })
  const { Gain, Text_Box, Scenes } = qrwc.components
  const polled = () => socket.until(isPollAnswer, 'a poll')
  let next = polled()
  await control('set', 'Gain', 'gain', -12)
  await control('set', 'Meter', 'meter.1', -30)
  await next
  next = polled()
  await Gain.controls.gain.update(-20)
  await Gain.controls.gain.update({ Position: 0.5 })
  await Gain.controls.mute.update(true)
  await Text_Box.controls['text.1'].update('Hi')
  await Text_Box.controls['combo.1'].update({ String: 'USB-C' })
  await Scenes.controls['load.1'].update(1)
  await Gain.controls.gain.update(Gain.controls.gain.state)
  await next
  next = polled()
  await control('fail', 'Component.Set', 8, 'Unknown control')
  await control('fail', 'ChangeGroup.Poll', 6, 'Change group does not exist')
  // The client tells the refusal by an event and resolves to the state it had.
  const refused = event(Gain.controls.gain, 'error')
  assert.equal((await Gain.controls.gain.update(3)).Value, -40)
  await refused
  await next
  next = socket.until(({ frame }) => frame.params?.State === 'Active', 'EngineStatus')
  await control('standby', 'on')
  await control('standby', 'off')
  await next
  const disconnected = event(qrwc, 'disconnected')
  await control('close')
  await disconnected
  return socket.frames
}

async function play041() {
  const Qrwc = await client('0.4.1')
  const socket = new RecordedSocket(url)
  // The first poll comes one interval after the start, so it is listened for before.
  const first = socket.until(isPollAnswer, 'the first poll')
  const qrwc = await Qrwc.createQrwc({ socket, pollingInterval })
  await first
  const second = socket.until(isPollAnswer, 'the second poll')
  await qrwc.components.Gain.controls.gain.update(-20)
  await qrwc.components.Gain.controls.mute.update(true)
  await second
  qrwc.close()
  return socket.frames
}

/** Ids replaced, empty polls left out; each answer is labelled with what it answers. */
function normalised(frames) {
  const asked = new Map()
  for (const { direction, frame } of frames) if (direction === 'client->core') asked.set(frame.id, frame)
  const empty = new Set()
  for (const { direction, frame } of frames) {
    if (direction === 'core->client' && frame.result?.Changes?.length === 0) empty.add(frame.id)
  }
  const rows = frames.filter(({ direction, frame }) => {
    const isAnswered = direction === 'core->client' || frames.some(other => other.direction !== direction && other.frame.id === frame.id)
    return !empty.has(frame.id) && isAnswered
  })
  const uuid = /^[0-9a-f]{8}-[0-9a-f-]{27}$/
  const scrub = value => {
    if (typeof value === 'string') return uuid.test(value) ? '#' : value
    if (Array.isArray(value)) return value.map(scrub)
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, scrub(inner)]))
  }
  return rows.map(({ direction, frame }) => {
    const request = asked.get(frame.id)
    const label = request ? `${request.method} ${JSON.stringify(scrub(request.params) ?? null)}` : frame.method
    return { direction, label, frame: scrub(frame) }
  })
}

/** The rows of one direction, with runs of GetControls and of Add in the order of their labels. */
function rows(frames, direction) {
  const isBlock = label => /^(Component\.GetControls|ChangeGroup\.AddComponentControl)/.exec(label)?.[1]
  const sorted = normalised(frames).filter(row => row.direction === direction)
  for (let start = 0; start < sorted.length; ) {
    let end = start + 1
    const block = isBlock(sorted[start].label)
    while (block && end < sorted.length && isBlock(sorted[end].label) === block) end++
    const run = sorted.slice(start, end).sort((a, b) => (a.label < b.label ? -1 : 1))
    sorted.splice(start, run.length, ...run)
    start = end
  }
  return sorted
}

/** Keys in their order and the types of the values. */
function shape(value) {
  if (Array.isArray(value)) return value.map(shape)
  if (value === null) return 'null'
  if (typeof value !== 'object') return typeof value
  return Object.entries(value).map(([key, inner]) => [key, shape(inner)])
}

/** The values; positions are rounded, texts of errors and the trace's own slip `undefined` are left out. */
function values(value, key) {
  if (Array.isArray(value)) return value.map(inner => values(inner))
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, values(inner, name)]))
  }
  if (key === 'Position') return Math.round(value * 1e5)
  if (key === 'message' || (key === 'String' && (value === 'undefined' || value === ''))) return null
  return value
}

function compare(run, played) {
  const golden = trace.filter(line => line.run.includes(run) && line.frame)
  for (const direction of ['client->core', 'core->client']) {
    const [expected, actual] = [rows(golden, direction), rows(played, direction)]
    assert.deepEqual(actual.map(row => row.label), expected.map(row => row.label), `${run} ${direction}: which frames`)
    expected.forEach((row, n) => {
      const what = `${run} ${direction}: ${row.label}`
      assert.deepEqual(shape(actual[n].frame), shape(row.frame), `${what}: keys, types, order`)
      assert.deepEqual(values(actual[n].frame), values(row.frame), `${what}: values`)
    })
    console.log(`${run} ${direction}: ${expected.length} frames equal`)
  }
}

compare('0.5.0', await play050())
for (const [component, name, value] of [['Gain', 'gain', 0], ['Gain', 'mute', 0], ['Meter', 'meter.1', -60], ['Scenes', 'load.1', 0], ['Text_Box', 'text.1', 'hello'], ['Text_Box', 'combo.1', 'HDMI 1']]) {
  await control('set', component, name, value)
}
compare('0.4.1', await play041())
control.end()
process.exit(0)
