/** `ronctl audit proof`. */
import { Command } from 'commander'
import { KmsError } from '../../errors.js'
import { requireNative } from '../../native.js'
import { attempt, wholeNumber } from './command.js'

interface Flags {
  size?: number
  from?: number
  to?: number
  json?: boolean
}

const FORMATS = `
Printed is text of C2SP: tlog-proof v1 for a record, the body of a witness's add-checkpoint
(tlog-witness) for --from. Whoever knows the audit keys can check it without the log. JSON has
the same in hex, with the bytes of the record: its leaf hash is SHA-256(0x00 || bytes).

Exit codes: 0 proved; 1 no such record or checkpoint, or nothing could be read; 2 called wrongly.`

export function proofCommand(): Command {
  return new Command('proof')
    .description('prove that a record is in the log, or that the log of then is a prefix of the log of now')
    .argument('<dir>', 'the directory of the log')
    .argument('[seq]', 'the index of a record', wholeNumber)
    .option('--size <n>', 'lead to the checkpoint of so many records instead of the newest', wholeNumber)
    .option('--from <n>', 'a prefix: the size of a checkpoint that somebody has', wholeNumber)
    .option('--to <n>', 'the size of the later checkpoint instead of the newest', wholeNumber)
    .option('--json', 'as JSON')
    .addHelpText('after', FORMATS)
    .action((dir: string, seq: number | undefined, flags: Flags) => attempt(() => prove(dir, seq, flags)))
}

async function prove(dir: string, seq: number | undefined, flags: Flags): Promise<void> {
  const { size, from, to, json } = flags
  const native = requireNative()
  let proof: string
  if (seq !== undefined && from === undefined && to === undefined) {
    proof = await native.auditInclusion(dir, seq, size)
  } else if (seq === undefined && from !== undefined && size === undefined) {
    proof = await native.auditConsistency(dir, from, to)
  } else {
    const why = 'give the index of a record (and --size), or --from (and --to)'
    throw new KmsError('BadRequest', why)
  }
  const { text, ...rest } = JSON.parse(proof) as { text: string }
  process.stdout.write(json ? `${JSON.stringify(rest)}\n` : text)
}
