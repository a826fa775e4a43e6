// The table of settings as text for people: a file to start from, and the page in the documentation.
import { ABSENT } from './absent.js'
import { KEYS, type Key, SCHEMA, type Setting } from './schema.js'

const row = (key: Key) => SCHEMA[key] as Setting<unknown>

/** Keys by the table that they are in, the top of the file first. */
function bySection(): Map<string, Key[]> {
  const sections = new Map<string, Key[]>([['', []]])
  for (const key of KEYS) {
    const name = key.split('.').slice(0, -1).join('.')
    sections.set(name, [...(sections.get(name) ?? []), key])
  }
  return sections
}

const leaf = (key: Key) => key.split('.').at(-1) ?? key

/** A TOML file in which every setting is there as a comment, with its default. */
export function settingsFile(): string {
  const lines = ['# Settings of ron-kms. Each line that is commented out shows a default.', '']
  for (const [section, keys] of bySection()) {
    if (section !== '') lines.push(`[${section}]`)
    for (const key of keys) {
      const { description, rule } = row(key)
      lines.push(`# ${capital(description)}.`, `# It ${rule}.`, `#${leaf(key)} = ${tomlDefault(key)}`, '')
    }
  }
  return lines.join('\n')
}

/** A default as TOML has it. */
function tomlDefault(key: Key): string {
  const { kind, default: text } = row(key)
  const value = kind.text(text)
  if (Array.isArray(value)) return JSON.stringify(value)
  const isBare = typeof value === 'boolean' || (typeof value === 'number' && /^[0-9]+$/.test(text))
  return isBare || text === '{}' ? text : JSON.stringify(text)
}

/** The page of all settings, in Markdown. */
export function settingsPage(): string {
  const lines = [
    '# Settings',
    '',
    '<!-- Made of src/config/schema.ts by `node scripts/settings-page.mjs`; `npm run check` compares. -->',
    '',
    'Flags win over variables, variables over the file (`--config FILE` or `RON_KMS_CONFIG`, TOML or JSON), the file over',
    'defaults. Whatever is unknown or breaks a rule is refused before anything is bound: one line for each fault, and exit',
    'code 78. `ronctl config check FILE` finds the same without starting, `ronctl config show` prints the values in force',
    'and where each comes from, `ronctl config init FILE` writes a file with every default.',
    '',
    'Durations are written `250ms`, `5s`, `1m` or `1h`, sizes `65536`, `64KiB` or `1MiB`, lists in variables and flags with',
    'commas. On SIGHUP the settings are read again. Those marked *live* change at once, all together; the log names the',
    'changes, and the settings that wait for a restart. Where anything is at fault, everything stays as it was.',
    '',
  ]
  for (const [section, keys] of bySection()) {
    lines.push(section === '' ? '## At the top of the file' : `## \`[${section}]\``, '')
    lines.push('| Key | Default | Variable, flag | |', '| --- | --- | --- | --- |')
    for (const key of keys) lines.push(settingRow(key))
    lines.push('')
  }
  return [...lines, ...absentPart(), ''].join('\n')
}

function settingRow(key: Key): string {
  const { env, aliases = [], flag, default: text, rule, description, live } = row(key)
  const old = aliases.length > 0 ? ` (old: ${aliases.map(code).join(', ')})` : ''
  const about = `${capital(description)}. It ${rule}.${live ? ' *Live.*' : ''}`
  const names = `${code(env)}${old}, ${code(flag)}`
  return `| ${code(leaf(key))} | ${text === '' ? '' : code(text)} | ${names} | ${cell(about)} |`
}

function absentPart(): string[] {
  const rows = Object.entries(ABSENT).map(
    ([key, { env, rule }]) => `| ${code(key)} | ${code(env)} | ${cell(`It ${rule}.`)} |`,
  )
  return [
    '## Not in this version',
    '',
    'These have a name and no feature yet. They are refused, except where a value asks for what is so anyway.',
    '',
    ...['| Key | Variable | |', '| --- | --- | --- |', ...rows],
  ]
}

const code = (text: string) => `\`${text.replaceAll('|', '\\|')}\``
const cell = (text: string) => text.replaceAll('|', '\\|')
const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)
