import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { RememberingRouter } from '../../src/server/router.js'

function app() {
  return new Hono({ router: new RememberingRouter() })
    .get('/keys', c => c.text('list'))
    .post('/keys', c => c.text('create'))
    .post('/keys/import', c => c.text('import'))
    .all('/keys/import', c => c.text('wrong method'))
    .get('/keys/:kid', c => c.text(c.req.param('kid')))
    .notFound(c => c.text('nothing'))
}

async function ask(of: ReturnType<typeof app>, method: string, path: string): Promise<string> {
  return (await of.request(path, { method })).text()
}

describe('a router that remembers paths without parameters', () => {
  it('answers the second time as it did the first', async () => {
    const one = app()
    const asked = [
      ['GET', '/keys', 'list'],
      ['POST', '/keys', 'create'],
      ['POST', '/keys/import', 'import'],
      ['DELETE', '/keys/import', 'wrong method'],
      ['GET', '/keys/a', 'a'],
      ['GET', '/keys/b', 'b'],
      ['DELETE', '/keys', 'nothing'],
      ['GET', '/keys/a/b', 'nothing'],
    ] as const
    for (let round = 0; round < 2; round += 1) {
      for (const [method, path, answer] of asked) expect(await ask(one, method, path), path).toBe(answer)
    }
  })

  it('sees a route that is added after a path was asked for', async () => {
    const one = app()
    expect(await ask(one, 'DELETE', '/keys')).toBe('nothing')
    one.delete('/keys', c => c.text('delete'))
    expect(await ask(one, 'DELETE', '/keys')).toBe('delete')
  })
})
