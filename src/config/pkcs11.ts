import { statSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { type Fault, HIDDEN, show } from './faults.js'
import type { Config } from './schema.js'

/** What contradicts a root key in a token. */
export function hsmFaults(backend: string, { file, env }: Config['root_key']): Fault[] {
  if (backend !== 'pkcs11') {
    return [{ key: 'root_key.kind', value: 'hsm', rule: 'needs service.backend = pkcs11' }]
  }
  const given = file !== '' ? ('root_key.file' as const) : env !== '' ? ('root_key.env' as const) : undefined
  if (given === undefined) return []
  return [{ key: given, value: show(file || env), rule: 'contradicts root_key.kind = hsm' }]
}

/** What is wrong with the backends, as far as it can be seen without asking a token. */
export function tokenFaults(config: Config, env: Readonly<Record<string, string | undefined>>): Fault[] {
  const { service, security, backends } = config
  const { backend, multi_backends: listed } = service
  const faults: Fault[] = []
  if (listed.length > 0 && listed[0] !== backend) {
    faults.push({
      key: 'service.multi_backends',
      value: show(listed),
      rule: `must begin with service.backend, which is ${backend}`,
    })
  } else if (listed.length > 1 && listed.includes('inmem')) {
    const rule = 'only file and pkcs11 can be together'
    faults.push({ key: 'service.multi_backends', value: show(listed), rule })
  }
  if (backend !== 'pkcs11') {
    if (security.attest_require === 'required') {
      const rule = `the backend ${backend} cannot attest: use pkcs11, or if-available`
      faults.push({ key: 'security.attest_require', value: 'required', rule })
    }
    return faults
  }
  const { module_path: path, pin_env: pin } = backends.pkcs11
  const isFile = isAbsolute(path) && statSync(path, { throwIfNoEntry: false })?.isFile() === true
  if (!isFile) {
    const rule = 'must be the absolute name of a file that is there'
    faults.push({ key: 'backends.pkcs11.module_path', value: show(path), rule })
  }
  if (pin === '') {
    const rule = 'is needed with service.backend = pkcs11: the name of the variable that holds the PIN'
    faults.push({ key: 'backends.pkcs11.pin_env', value: show(pin), rule })
  } else if (!env[pin]) {
    // Whoever takes it for the PIN itself does not find it printed.
    const rule = 'names no environment variable that is set'
    faults.push({ key: 'backends.pkcs11.pin_env', value: HIDDEN, rule })
  }
  if (backends.pkcs11.backoff_first > backends.pkcs11.backoff_most) {
    const rule = 'must not be above backends.pkcs11.backoff_most'
    const value = `${backends.pkcs11.backoff_first}ms`
    faults.push({ key: 'backends.pkcs11.backoff_first', value, rule })
  }
  return faults
}
