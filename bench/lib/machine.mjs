// On what a run was made: absolute times mean nothing without it.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { fileURLToPath } from 'node:url'

function packageOf(name) {
  return new URL(`../../node_modules/${name}/package.json`, import.meta.url)
}
const versionOf = name => JSON.parse(readFileSync(packageOf(name), 'utf8')).version

/** What `ron-kms doctor` says; its CPU tier is the one that the curve arithmetic uses. */
function doctor() {
  const manifest = import.meta.resolve('ron-kms/package.json')
  const { bin } = JSON.parse(readFileSync(new URL(manifest), 'utf8'))
  const main = fileURLToPath(new URL(bin['ron-kms'], manifest))
  return JSON.parse(execFileSync(process.execPath, [main, 'doctor', '--json'], { encoding: 'utf8' }))
}

/** The tier of this process. */
export const cpuTier = () => doctor().addon.cpuTier ?? 'none'

export function machineFacts() {
  const { version, addon } = doctor()
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    tier: addon.cpuTier ?? 'none',
    cores: availableParallelism(),
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
    openssl: process.versions.openssl,
    'ron-kms': version,
    'sodium-native': versionOf('sodium-native'),
    '@noble/curves': versionOf('@noble/curves'),
  }
}

export const machineLine = ({ cpu, tier, cores, node, date }) =>
  `${cpu}, CPU tier ${tier}, ${cores} cores, Node ${node}, ${date}`
