import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import type { Envelope, Verdict } from '../../passport/types.js'
import { PassportVerifier } from '../../passport/verifier.js'
import { ask, orFail, print, readPassport, urlOption } from './client.js'

interface Options {
  url: string
  audience?: string
  scope?: string[]
  jwks?: string
}

/** `ronctl passport verify`. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description('verify a passport, which is given or on standard input; exit code 3 where it does not hold')
    .argument('[passport]', 'a token or an envelope')
    .addOption(urlOption())
    .option('--jwks <file>', 'verify here with these keys, without the service')
    .option('--audience <audience>', 'whom it must be for')
    .option('--scope <scope...>', 'what it must allow')
    .action((given: string | undefined, { url, audience, scope, jwks }: Options) =>
      orFail(async () => {
        const passport = readPassport(given)
        const demands = { ...(audience !== undefined && { audience }), ...(scope && { scopes: scope }) }
        const verdict =
          jwks === undefined
            ? await ask(url, '/v1/passport/verify', { ...fieldsOf(passport), ...demands })
            : offline(jwks, passport, demands)
        print(verdict)
        if ((verdict as Verdict).ok !== true) process.exitCode = 3
      }),
    )
}

function fieldsOf(passport: unknown): object {
  return typeof passport === 'string' ? { token: passport } : (passport as object)
}

function offline(file: string, passport: unknown, demands: object): Verdict {
  const requireAud = 'audience' in demands
  const verifier = new PassportVerifier({ jwks: JSON.parse(readFileSync(file, 'utf8')), requireAud })
  return verifier.verify(passport as string | Envelope, demands)
}
