// A private token of SoftHSM for each test, also behind the module that fails on demand.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Pkcs11Options } from 'ron-kms'
import { part } from './parts.js'

export const LABEL = 'ron-kms test'
export const PIN = '123456'
const PIN_ENV = 'TEST_TOKEN_PIN'

/** A token in a directory. */
export interface SoftToken {
  /** What a process needs to use it. */
  readonly env: Readonly<Record<string, string>>
  /** Through SoftHSM itself. */
  readonly options: Pkcs11Options
  /** Through the module that fails on demand. */
  readonly faulty: Pkcs11Options
  /** What fails from now on; see `kms-pkcs11-fault/src/plan.rs`. */
  plan(...lines: string[]): void
  /** What `pkcs11-tool` says. */
  tool(...args: string[]): string
}

/** Makes a token. A second one in the same process is used once every user of the first has closed it. */
export function softToken(dir: string): SoftToken {
  const module = part('softhsm').path
  const [tokens, conf, plan] = [join(dir, 'tokens'), join(dir, 'softhsm2.conf'), join(dir, 'plan')]
  mkdirSync(tokens, { mode: 0o700 })
  writeFileSync(conf, `directories.tokendir = ${tokens}\nlog.level = ERROR\n`)
  const env = {
    SOFTHSM2_CONF: conf,
    KMS_FAULT_MODULE: module,
    KMS_FAULT_PLAN: plan,
    [PIN_ENV]: PIN,
  }
  const init = ['--init-token', '--free', '--label', LABEL, '--pin', PIN, '--so-pin', '12345678']
  execFileSync('softhsm2-util', init, { env: { ...process.env, ...env }, stdio: 'pipe' })
  const options = { modulePath: module, slotLabel: LABEL, pinEnv: PIN_ENV }
  return {
    env,
    options,
    faulty: {
      ...{ ...options, modulePath: part('pkcs11-fault').path },
      ...{ backoffFirstMs: 5, backoffMostMs: 50 },
    },
    plan(...lines) {
      writeFileSync(`${plan}.new`, lines.join('\n'))
      renameSync(`${plan}.new`, plan)
    },
    tool(...args) {
      const login = ['--module', module, '--token-label', LABEL, '--login', '--pin', PIN]
      return execFileSync('pkcs11-tool', [...login, ...args], {
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
        encoding: 'utf8',
      })
    },
  }
}

/** For a token that is used in this process: its library reads the environment when it is initialised. */
export function useToken(token: SoftToken): void {
  Object.assign(process.env, token.env)
  if (!existsSync(token.env.SOFTHSM2_CONF as string)) throw new Error('the token is not there')
}
