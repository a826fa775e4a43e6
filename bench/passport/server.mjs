// A server in a process of its own, for over-http.mjs: `passport`, or `echo`, a bare Hono app that answers JSON with
// the same JSON. Writes its address and a token to standard output.
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

if (process.argv[2] === 'echo') {
  const app = new Hono()
  app.post('/', async c => c.json(await c.req.json()))
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) =>
    process.stdout.write(`${JSON.stringify({ port })}\n`),
  )
  process.on('SIGTERM', () => server.close(() => process.exit(0)))
} else {
  const [, , , coalesce] = process.argv
  process.argv = [
    ...[process.argv[0], 'svc-passport', 'serve', '--dev', '--bind', '127.0.0.1:0', '--log-level', 'error'],
    ...['--coalesce', coalesce, '--max-inflight', '4096'],
  ]
  await import('../../dist/cli/passport-main.js')
}
