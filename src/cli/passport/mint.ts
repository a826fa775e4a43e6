import { Command } from 'commander'
import { ask, orFail, print, urlOption } from './client.js'

interface Options {
  url: string
  sub: string
  aud: string[]
  scope?: string[]
  ttl?: string
  nonce?: string
  ctx?: string
  jwt?: boolean
}

/** `ronctl passport mint`. */
export function mintCommand(): Command {
  return new Command('mint')
    .description('issue a passport; the capability is in PASSPORT_TOKEN')
    .addOption(urlOption())
    .requiredOption('--sub <subject>', 'whom it is about')
    .requiredOption('--aud <audience...>', 'whom it is for')
    .option('--scope <scope...>', 'what it allows')
    .option('--ttl <seconds>', 'lifetime')
    .option('--nonce <text>', 'taken once by verifiers with a replay window')
    .option('--ctx <json>', 'an object that is signed, too')
    .option('--jwt', 'a compact token instead of an envelope')
    .action(({ url, sub, aud, scope = [], ttl, nonce, ctx, jwt }: Options) =>
      orFail(async () => {
        const wish = {
          ...{ sub, aud, scopes: scope, nonce },
          ...(ttl !== undefined && { ttl_s: Number(ttl) }),
          ...(ctx !== undefined && { ctx: JSON.parse(ctx) as unknown }),
          ...(jwt && { format: 'jwt' }),
        }
        const answer = await ask(url, '/v1/passport/issue', wish)
        print(jwt ? (answer as { token: string }).token : JSON.stringify(answer))
      }),
    )
}
