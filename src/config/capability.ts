import { type Fault, show } from './faults.js'

/** Where the root keys of capabilities are, as the settings of either service have it. */
interface CapabilitySettings {
  readonly capability: { readonly root_key_file: string; readonly root_key_env: string }
}

/** Root keys are in a file or in a variable; in development mode there is a fresh one where none is named. */
export function capabilityFaults(
  { capability: { root_key_file: file, root_key_env: env } }: CapabilitySettings,
  dev: boolean,
): Fault[] {
  if (dev ? file === '' || env === '' : (file === '') !== (env === '')) return []
  const rule =
    'this or capability.root_key_env is needed, and not both: `ronctl cap root-key new FILE` makes one; or start with --dev'
  return [{ key: 'capability.root_key_file', value: show(file), rule }]
}
