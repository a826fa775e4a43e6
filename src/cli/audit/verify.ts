/** `ronctl audit verify`. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { KmsError } from '../../errors.js'
import { requireNative } from '../../native.js'
import { Bar } from './bar.js'
import { attempt } from './command.js'

/** After Ctrl-C, as a shell says it. */
const EXIT_INTERRUPTED = 130

/** What the addon says of a log. */
export interface AuditReport {
  outcome: 'intact' | 'torn' | 'damaged' | 'bad_checkpoint' | 'bad_audit_key' | 'behind_anchor' | 'unsealed'
  exit_code: number
  first_bad: { seq: number | null; file: string; offset: number; why: string } | null
  first: number
  size: number
  root: string
  checkpoints: number
  covered: number
  keys: string[]
  sealed_by: { key: string; since: number | null; class: string; facts: Record<string, string> } | null
  continuity: { valid: number; linked: number; unchecked: number }
  remarks: string[]
}

interface Flags {
  key?: string[]
  keys?: string
  checkpoint?: string[]
  seen?: string
  json?: boolean
}

const VERDICTS: Record<AuditReport['outcome'], string> = {
  intact: 'intact',
  torn: 'torn at its end',
  damaged: 'damaged',
  bad_checkpoint: 'a checkpoint does not hold',
  bad_audit_key: 'an audit key does not hold',
  behind_anchor: 'behind what was seen of it',
  unsealed: 'not sealed by its device',
}

const EXIT_CODES = `
Exit codes:
  0    intact
  1    nothing could be read
  2    called wrongly
  3    intact but for a torn record or checkpoint at the very end, as a crash leaves it
  4    a record, a segment, a checkpoint or a continuity proof is not as it was written
  5    a checkpoint, of the log or of --checkpoint, does not fit the records or the audit keys
  6    the audit keys do not follow from each other, or from those of --key
  7    the log is older than what --seen says, or another one
  8    the log is sealed by a device, or --key names one, and a checkpoint lacks its signature
  130  stopped by Ctrl-C

Without --key or --keys a log vouches for its own first keys, and whoever can replace the whole
directory can replace them too.`

export function verifyCommand(): Command {
  return new Command('verify')
    .description('check every record, the tree over them, every checkpoint and every change of keys')
    .argument('<dir>', 'the directory of the log')
    .option('--key <vkey>', 'an audit key that you trust; may be given again', collect)
    .option('--keys <file>', 'a file with such keys, one a line')
    .option('--checkpoint <file>', 'a checkpoint that you kept; may be given again', collect)
    .option('--seen <size:root>', 'size and root of an earlier verification')
    .option('--json', 'as JSON')
    .addHelpText('after', EXIT_CODES)
    .action((dir: string, flags: Flags) => attempt(() => verify(dir, flags)))
}

async function verify(dir: string, flags: Flags): Promise<void> {
  const lines = flags.keys === undefined ? [] : readFileSync(flags.keys, 'utf8').split('\n')
  const keys = [...(flags.key ?? []), ...lines.map(line => line.trim()).filter(line => line !== '')]
  if (flags.keys !== undefined && keys.length === 0) {
    throw new KmsError('BadRequest', 'has no key', { field: 'keys' })
  }
  const kept = (flags.checkpoint ?? []).map(file => readFileSync(file, 'utf8'))
  const { AuditVerification } = requireNative()
  const verification = new AuditVerification(dir, {
    ...(keys.length > 0 && { keys }),
    kept,
    ...(flags.seen !== undefined && seen(flags.seen)),
  })
  let stopped = false
  const stop = () => {
    stopped = true
    verification.stop()
  }
  process.once('SIGINT', stop)
  const bar = new Bar(() => verification.progress())
  try {
    const report = JSON.parse(await verification.run()) as AuditReport
    bar.end()
    process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : toText(report))
    process.exitCode = report.exit_code
  } catch (error) {
    bar.end()
    if (!stopped) throw error
    process.stderr.write('ronctl: stopped before the end\n')
    process.exitCode = EXIT_INTERRUPTED
  } finally {
    process.off('SIGINT', stop)
  }
}

function seen(text: string): { seenSize: number; seenRoot: string } {
  const [size, root, rest] = text.split(':')
  if (!/^\d{1,15}$/.test(size ?? '') || root === undefined || rest !== undefined) {
    throw new KmsError('BadRequest', 'must be size:root', { field: 'seen' })
  }
  return { seenSize: Number(size), seenRoot: root }
}

/** What an auditor should look at, and the verdict as the last line. */
function toText(report: AuditReport): string {
  const { outcome, first_bad: bad, first, size, root, checkpoints, covered, keys, remarks } = report
  const { valid, linked, unchecked } = report.continuity
  const row = (name: string, value: string) => `${name.padEnd(14)}${value}`
  const lines = keys.map(key => row('signed by', key))
  if (report.sealed_by) lines.push(...sealedBy(report.sealed_by).map(text => row('sealed by', text)))
  if (first > 0) lines.push(row('pruned', `${first} records, of which only hashes are left`))
  if (valid + unchecked > 0) {
    const not = unchecked > 0 ? `; ${unchecked} could not be checked` : ''
    lines.push(row('rotations', `${valid} proofs hold, ${linked} of them follow from earlier ones${not}`))
  }
  lines.push(...remarks.map(remark => row('remark', remark)))
  if (bad) {
    const { seq, file, offset, why } = bad
    const at = seq === null ? `${file}, byte ${offset}` : `record ${seq} (${file}, byte ${offset})`
    lines.push(`${VERDICTS[outcome]}: ${at}: ${why}`)
  } else {
    const cover = `${covered === size ? 'all' : covered} covered by the last of ${checkpoints} checkpoints`
    lines.push(`${VERDICTS[outcome]}: ${size} records, ${cover}; root ${root}`)
  }
  return `${lines.join('\n')}\n`
}

/** The device, and what it said of its key when it took over. */
function sealedBy({ key, since, class: name, facts }: NonNullable<AuditReport['sealed_by']>): string[] {
  if (since === null) return [`${key} (its record is pruned)`]
  const shown = ['token_serial', 'slot', 'cka_local', 'cka_never_extractable']
  const said = shown.flatMap(fact => (facts[fact] === undefined ? [] : `${fact} ${facts[fact]}`))
  return [key, `${[name, ...said].join(', ')}; since record ${since}`]
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value]
}
