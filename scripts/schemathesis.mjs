// `npm run schemathesis -- [flags of st run]`: a service in development mode, and Schemathesis (pip install schemathesis)
// against the OpenAPI document that it serves, with all checks.
import { spawn } from 'node:child_process'
import { build } from './build.mjs'
import { at, capture, fail, run } from './lib.mjs'

if (capture('st', ['--version']) === undefined) fail('schemathesis is missing: pip install schemathesis')
await build()
const args = ['serve', '--dev', '--backend', 'inmem', '--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0']
const service = spawn(process.execPath, [at('dist/cli/main.js'), ...args, '--log-level', 'error'], {
  stdio: ['ignore', 'pipe', 'inherit'],
})
let banner = ''
await new Promise((resolve, reject) => {
  service.on('exit', code => reject(new Error(`the service ended with ${code}`)))
  service.stdout.on('data', chunk => {
    banner += chunk
    if (banner.includes('WARNING: the token')) resolve()
  })
})
service.removeAllListeners('exit')
const url = /^API +(http:\S+)\/v1\/kms$/m.exec(banner)?.[1]
const token = /Bearer ([\w-]+)/.exec(banner)?.[1]
const flags = process.argv.length > 2 ? process.argv.slice(2) : ['--max-examples', '100']
const code = await run('st', ['run', `${url}/openapi.json`, '-H', `Authorization: Bearer ${token}`, ...flags])
service.kill('SIGTERM')
process.exitCode = code
