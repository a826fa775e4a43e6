// `npm run bench:hsm`: signatures a second through the service with its keys in a token, beside a bare loop of C_Sign on
// the same token and key, in turns, with the processor time that each takes a signature: where the token computes in this
// process and all processors are busy, that decides. Without --module a token of SoftHSM is made. --module M --label L and the PIN in
// KMS_PKCS11_PIN: another token. Exit code 1 where the service is below its share.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Kms } from 'ron-kms'
import { machineFacts, machineLine } from './lib/machine.mjs'

const { values: flags } = parseArgs({
  options: {
    module: { type: 'string' },
    label: { type: 'string', default: 'RON-KMS' },
    rounds: { type: 'string', default: '9' },
    ms: { type: 'string', default: '700' },
  },
})

/** What is promised of the bare loop, by callers. */
const SHARES = { 1: 0.75, 8: 0.95 }

const root = fileURLToPath(new URL('..', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'ron-kms-bench-hsm-'))
const median = (turns, of) => turns.map(turn => turn[of]).toSorted((a, b) => a - b)[turns.length >> 1]

let { module: modulePath } = flags
if (modulePath === undefined) {
  const ronctl = join(root, 'dist/cli/ronctl.js')
  execFileSync(process.execPath, [ronctl, 'softhsm', 'new', join(dir, 'token')], { stdio: 'ignore' })
  const env = readFileSync(join(dir, 'token/env'), 'utf8')
  process.env.SOFTHSM2_CONF = /^SOFTHSM2_CONF='(.*)'$/m.exec(env)[1]
  process.env.KMS_PKCS11_PIN = /^RON_KMS_TOKEN_PIN=(.*)$/m.exec(env)[1]
  modulePath = JSON.parse(/^module_path = (.*)$/m.exec(readFileSync(join(dir, 'token/kms.toml'), 'utf8'))[1])
}

const kms = await Kms.open({
  backend: 'pkcs11',
  pkcs11: { modulePath, slotLabel: flags.label, pinEnv: 'KMS_PKCS11_PIN' },
  store: { dir: join(dir, 'store'), create: true },
})
const { kid } = await kms.createKey({ tenant: 'bench', purpose: 'sign', alg: 'ed25519', signs: 'message' })
const key = kid.split('#')[0]
const message = new Uint8Array(32).fill(7)

execFileSync('cargo', ['build', '--release', '-p', 'kms-pkcs11', '--example', 'bare_sign'], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
})
const bare = spawn(join(root, 'target/release/examples/bare_sign'), [modulePath, flags.label, key], {
  stdio: ['pipe', 'pipe', 'inherit'],
})
const answers = createInterface(bare.stdout)[Symbol.asyncIterator]()

/** Processor time of a process so far, in microseconds; nothing where there is no /proc. */
function processorTime(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
    // In clock ticks of 10 ms (proc(5), fields 14 and 15).
    return (Number(fields[11]) + Number(fields[12])) * 10_000
  } catch {
    return Number.NaN
  }
}

/** What was measured: signatures a second, and processor time a signature. */
async function ofBare(callers) {
  const before = processorTime(bare.pid)
  bare.stdin.write(`${callers} ${flags.ms}\n`)
  const rate = Number((await answers.next()).value)
  return { rate, time: (processorTime(bare.pid) - before) / ((rate * Number(flags.ms)) / 1000) }
}

async function ofService(callers) {
  const before = processorTime(process.pid)
  const begin = performance.now()
  const until = begin + Number(flags.ms)
  const caller = async () => {
    let done = 0
    for (; performance.now() < until; done += 1) await kms.signAsync(key, message)
    return done
  }
  const done = (await Promise.all(Array.from({ length: callers }, caller))).reduce((a, b) => a + b)
  const rate = (done / (performance.now() - begin)) * 1000
  return { rate, time: (processorTime(process.pid) - before) / done }
}

console.log(machineLine(machineFacts()))
console.log(kms.tokenStatus().offers)
let missed = 0
for (const callers of [1, 8]) {
  const [service, loop] = [[], []]
  for (let round = 0; round <= Number(flags.rounds); round += 1) {
    const turns = [
      async () => round > 0 && service.push(await ofService(callers)),
      async () => round > 0 && loop.push(await ofBare(callers)),
    ]
    // The first round warms up, and each begins every other one.
    if (round === 0) await Promise.all([ofService(callers), ofBare(callers)])
    for (const turn of round % 2 === 0 ? turns : turns.toReversed()) await turn()
  }
  const [ours, theirs] = [median(service, 'rate'), median(loop, 'rate')]
  const share = ours / theirs
  const verdict = share >= SHARES[callers] ? 'holds' : 'MISSED'
  if (share < SHARES[callers]) missed += 1
  console.log(
    `${callers} callers: ron-kms ${ours.toFixed(0)}/s, bare C_Sign ${theirs.toFixed(0)}/s, ` +
      `share ${share.toFixed(3)} (at least ${SHARES[callers]}: ${verdict}); processor time a signature ` +
      `${median(service, 'time').toFixed(0)} us, bare ${median(loop, 'time').toFixed(0)} us`,
  )
}
bare.stdin.end()
kms.close()
rmSync(dir, { recursive: true })
process.exitCode = missed > 0 ? 1 : 0
