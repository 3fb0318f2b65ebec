// What the scripts share: the client in its two versions, a socket that records, the control port of the simulated Core.

import net from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'

const PACKAGES = { '0.4.1': 'qrwc-0-4', '0.5.0': 'qrwc-0-5' }

/** The client's entry point in one of its versions. */
export async function client(version) {
  return (await import(PACKAGES[version])).Qrwc
}

/** A socket that keeps every frame of both directions in the order in which the client sent or could see it. */
export class RecordedSocket extends WebSocket {
  frames = []

  constructor(url) {
    super(url, { rejectUnauthorized: false })
    this.on('message', data => this.keep('core->client', String(data)))
  }

  send(text, ...rest) {
    this.keep('client->core', text)
    return super.send(text, ...rest)
  }

  keep(direction, text) {
    this.frames.push({ direction, frame: JSON.parse(text) })
    this.emit('recorded')
  }

  /** Waits for a frame that arrives from now on and satisfies `wanted`. */
  async until(wanted, what) {
    let seen = this.frames.length
    const limit = AbortSignal.timeout(20_000)
    for (;;) {
      for (; seen < this.frames.length; seen++) if (wanted(this.frames[seen], this.frames)) return
      await once(this, 'recorded', { signal: limit }).catch(() => {
        throw new Error(`waited in vain for ${what}`)
      })
    }
  }
}

/** The control port: `await control('set', 'Gain', 'gain', -12)`; rejects with what the Core says against it. */
export async function controlPort(address) {
  const [host, port] = address.split(':')
  const socket = net.connect({ host, port })
  await once(socket, 'connect')
  socket.setEncoding('utf8')
  const control = async (...words) => {
    socket.write(words.map(word => (/\s/.test(word) ? `"${word}"` : word)).join(' ') + '\n')
    let answer = ''
    while (!/(^|\n)(ok|error: .*)\n$/.test(answer)) answer += (await once(socket, 'data'))[0]
    if (answer.startsWith('error')) throw new Error(`${words.join(' ')}: ${answer}`)
    return answer.replace(/ok\n$/, '').trim()
  }
  control.end = () => socket.end()
  return control
}

/** Waits for an event of the client. */
export function event(emitter, name, wanted = () => true) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited in vain for '${name}'`)), 20_000)
    emitter.on(name, value => {
      if (!wanted(value)) return
      clearTimeout(timer)
      resolve(value)
    })
  })
}

export { sleep }
