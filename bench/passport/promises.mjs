// What is promised, beside what was measured: one line each, `holds` or `MISSED`.
const line = (what, measured, holds, limits) =>
  console.log(`${holds ? 'holds ' : 'MISSED'}  ${what}: ${shown(measured)} (${limits.join(', ')})`)

const shown = value => (value >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(3))

/** Whether it is as much as promised. */
export function atLeast(what, measured, least, aim) {
  const holds = measured >= least
  line(what, measured, holds, [`at least ${shown(least)}`, ...(aim ? [`aim ${shown(aim)}`] : [])])
  return holds
}

/** Whether it is no more than promised. */
export function atMost(what, measured, most) {
  const holds = measured <= most
  line(what, measured, holds, [`at most ${shown(most)}`])
  return holds
}
