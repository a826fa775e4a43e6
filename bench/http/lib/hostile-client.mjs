// A process that sends the same body again and again on each of many connections, for stalls.mjs. Its answers by status.
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'

const { port, connections, path, seconds, file, token } = JSON.parse(process.argv[2])
const body = readFileSync(file)
const head = [
  `POST ${path} HTTP/1.1`,
  `Host: 127.0.0.1:${port}`,
  'Content-Type: application/json',
  ...(token ? [`Authorization: Bearer ${token}`] : []),
  `Content-Length: ${body.length}`,
]
const request = Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body])
const answers = {}
const until = performance.now() + seconds * 1000

function open() {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => socket.write(request))
  let text = ''
  socket.on('data', chunk => {
    text += chunk.toString('latin1')
    const end = text.indexOf('\r\n\r\n')
    if (end < 0) return
    const length = Number(/content-length: (\d+)/i.exec(text.slice(0, end))?.[1] ?? 0)
    if (text.length < end + 4 + length) return
    const status = text.slice(9, 12)
    answers[status] = (answers[status] ?? 0) + 1
    text = ''
    if (performance.now() < until) socket.write(request)
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    if (performance.now() < until) setTimeout(open, 20)
  })
}

for (let i = 0; i < connections; i += 1) open()
setTimeout(
  () => process.stdout.write(`${JSON.stringify(answers)}\n`, () => process.exit()),
  seconds * 1000 + 300,
)
