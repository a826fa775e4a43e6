import { Command } from 'commander'
import { ask, orFail, print, urlOption } from './client.js'

/** `ronctl passport rotate`. */
export function rotateCommand(): Command {
  return new Command('rotate')
    .description('add a version to the key; the capability is in PASSPORT_TOKEN')
    .addOption(urlOption())
    .option('--publish-ahead <seconds>', 'how long it is published before it signs')
    .action(({ url, publishAhead }: { url: string; publishAhead?: string }) =>
      orFail(async () => {
        const wish = publishAhead === undefined ? {} : { publish_ahead_s: Number(publishAhead) }
        print(await ask(url, '/admin/rotate', wish))
      }),
    )
}
