import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

/** The name under which the service reports itself. */
export const SERVICE_NAME = 'ron-kms'

/** The version of the package. */
export const VERSION: string = manifest.version
