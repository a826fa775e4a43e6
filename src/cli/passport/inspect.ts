import { Command } from 'commander'
import { orFail, print, readPassport } from './client.js'

/** `ronctl passport inspect`. */
export function inspectCommand(): Command {
  return new Command('inspect')
    .description('show what a passport says, without verifying it')
    .argument('[passport]', 'a token or an envelope; else standard input')
    .action((given: string | undefined) => orFail(() => print(inspect(readPassport(given)))))
}

/** Its parts, decoded, with times that people read. */
function inspect(passport: unknown): object {
  if (typeof passport === 'string') {
    const [header, payload] = passport.split('.')
    return { verified: false, header: decode(header), ...shown(decode(payload)) }
  }
  const { alg, kid, msg } = passport as Record<string, unknown>
  return { verified: false, header: { alg, kid }, ...shown(decode(msg)) }
}

function decode(part: unknown): unknown {
  if (typeof part !== 'string') throw new Error('this is neither a token nor an envelope')
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString())
  } catch {
    throw new Error('a part of it is not base64url of JSON')
  }
}

function shown(claims: unknown): object {
  const times = Object.entries((claims ?? {}) as Record<string, unknown>).flatMap(([name, value]) =>
    ['iat', 'nbf', 'exp'].includes(name) && typeof value === 'number' && Math.abs(value) < 8.64e12
      ? [[name, new Date(value * 1000).toISOString()]]
      : [],
  )
  return { claims, times: Object.fromEntries(times) as object }
}
