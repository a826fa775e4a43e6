// The table of a run, for terminals.

/** Microseconds in three or four digits. */
export const micro = ns => (ns / 1000).toFixed(ns < 9_995 ? 2 : ns < 999_950 ? 1 : 0)
export const times = ratio => `${ratio.toFixed(ratio < 0.1 ? 3 : 2)}×`

/** A row's name, with its tier where that is forced. */
export const rowTitle = ({ row, tier }, machine) => (tier === machine.tier ? row : `${row} (${tier})`)

const COLUMNS = [
  { head: 'row', of: rowTitle },
  { head: 'implementation', of: ({ name }) => name },
  { head: 'lane', of: ({ lane }) => lane ?? '' },
  { head: 'how', of: ({ how }) => how ?? '' },
  { head: 'µs', of: ({ ns }) => micro(ns), right: true },
  { head: 'p25', of: ({ p25 }) => micro(p25), right: true },
  { head: 'p75', of: ({ p75 }) => micro(p75), right: true },
  { head: 'ratio', of: ({ ratio }) => times(ratio), right: true },
]

/** Medians in µs per signature; the ratio says how many times as fast as sodium-native in the same row. */
export function textTable(results, machine) {
  const lines = [COLUMNS.map(({ head }) => head)]
  for (const [i, result] of results.entries()) {
    const before = results[i - 1]
    const again = before?.row === result.row && before.tier === result.tier
    if (!again) lines.push(COLUMNS.map(() => ''))
    lines.push(COLUMNS.map(({ of }) => of(result, machine)))
    if (again) lines.at(-1)[0] = ''
  }
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map(line => line[column].length)))
  const format = line =>
    line.map((cell, i) => (COLUMNS[i].right ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('  ')
  return lines.map(line => format(line).trimEnd()).join('\n')
}
