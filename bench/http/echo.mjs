// An echo through Hono: what a framework's own JSON costs with the same body, and nothing else.
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

const app = new Hono()
app.post('/echo', async c => c.json(await c.req.json()))
const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) =>
  console.log(`listening on ${port}`),
)
process.on('SIGTERM', () => {
  server.close()
  server.closeAllConnections?.()
})
