import { Command } from 'commander'
import { KmsError } from '../errors.js'
import { errorName } from '../logging/log.js'
import { type Client, httpClient, inProcessClient } from './demo/client.js'
import { runDemo } from './demo/run.js'

/** `ron-kms demo`. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('sign every file of a directory through the API, rotate on the way, verify, and tamper')
    .argument('[dir]', 'the directory to walk', '.')
    .option('--url <url>', 'address of the running server', 'http://127.0.0.1:9446')
    .option('--in-process', 'no server: a key service in this process')
    .addHelpText('after', '\nThe token of the server is read from the variable RON_KMS_TOKEN.')
    .action(async (dir: string, options: { url: string; inProcess?: boolean }) => {
      const client = options.inProcess ? await inProcessClient() : connect(options.url)
      if (!client) return
      try {
        process.exitCode = (await runDemo(dir, client)) ? 0 : 1
      } catch (error) {
        // A KmsError's message is fit for people; of anything else only the kind is known to be.
        const detail = error instanceof KmsError ? `${error.code}: ${error.message}` : describe(error)
        process.stderr.write(`ron-kms demo: ${detail}\n`)
        process.exitCode = 1
      } finally {
        client.close()
      }
    })
}

function connect(url: string): Client | undefined {
  const token = process.env.RON_KMS_TOKEN
  if (token && URL.canParse(url)) return httpClient(url, token)
  const missing = token
    ? '--url must be a URL such as http://127.0.0.1:9446'
    : 'RON_KMS_TOKEN must hold the token that the server printed (or use --in-process)'
  process.stderr.write(`ron-kms demo: ${missing}\n`)
  process.exitCode = 1
  return undefined
}

function describe(error: unknown): string {
  const { code, path, message } = error as NodeJS.ErrnoException
  return path ? `${code}: ${path}` : (message ?? errorName(error))
}
