// Part of a run in a process of its own: another CPU tier, or tables in the memory that they have by default.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** What a script of `bench/` sends back. */
export async function inChild(script, args, env = {}) {
  const path = fileURLToPath(new URL(`../${script}`, import.meta.url))
  const child = fork(path, args, { env: { ...process.env, ...env }, execArgv: [] })
  let sent
  child.on('message', message => {
    sent = message
  })
  const [code] = await once(child, 'exit')
  if (code !== 0 || sent === undefined) throw new Error(`${script} failed with exit code ${code}`)
  return sent
}
