// The chart of a run: how many times as fast as sodium-native, for what users do. Bars: panels.mjs.
import { panels } from './panels.mjs'
import { micro, times } from './table.mjs'

const WIDTH = 820
const LEFT = 220
const RIGHT = 170
const BAR = 16
const STEP = 23
const TOP = 66
const PANEL_HEAD = 40

// Colours are for the page's scheme where the viewer tells it; the card behind keeps the text readable anyway.
const STYLE = `
    .card { fill: #ffffff; stroke: #d0d7de }
    text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328 }
    .title { font-size: 16px; font-weight: 600 }
    .panel { font-weight: 600 }
    .note { font-size: 12px }
    .note, .time { fill: #59636e }
    .ours { fill: #0969da }
    .peer { fill: #afb8c1 }
    .one { stroke: #59636e; stroke-dasharray: 3 3 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d }
      text { fill: #f0f6fc }
      .note, .time { fill: #9198a1 }
      .ours { fill: #4493f8 }
      .peer { fill: #656c76 }
      .one { stroke: #9198a1 }
    }`

const escaped = text => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
const text = (x, y, content, attributes = '') =>
  `<text x="${x}" y="${y}"${attributes}>${escaped(content)}</text>`

function bar({ caption, result }, y, scale) {
  const width = Math.max(result.ratio * scale, 1).toFixed(1)
  const kind = result.name === 'ron-kms' ? 'ours' : 'peer'
  return [
    text(LEFT - 10, y + BAR - 4, caption, ' text-anchor="end"'),
    `<rect class="${kind}" x="${LEFT}" y="${y}" width="${width}" height="${BAR}" rx="2"/>`,
    text(WIDTH - 100, y + BAR - 4, times(result.ratio), ' text-anchor="end"'),
    text(WIDTH - 24, y + BAR - 4, `${micro(result.ns)} µs`, ' class="time" text-anchor="end"'),
  ]
}

function panel({ title, bars }, top, scale) {
  const first = top + PANEL_HEAD
  const bottom = first + bars.length * STEP
  const one = (LEFT + scale).toFixed(1)
  const lines = [
    text(24, top + 26, title, ' class="panel"'),
    `<line class="one" x1="${one}" x2="${one}" y1="${first - 6}" y2="${bottom}"/>`,
    ...bars.flatMap((it, i) => bar(it, first + i * STEP, scale)),
  ]
  return { lines, bottom }
}

/** An SVG of 820 by about 1,500 units. One scale for all panels, so that bars compare across them. */
export function chart({ machine, results }) {
  const shown = panels(results, machine)
  const most = Math.max(...shown.flatMap(({ bars }) => bars.map(({ result }) => result.ratio)))
  const scale = (WIDTH - LEFT - RIGHT) / most
  let bottom = TOP
  const lines = shown.flatMap(it => {
    const made = panel(it, bottom, scale)
    bottom = made.bottom
    return made.lines
  })
  const height = bottom + 40
  const foot = `${machine.cpu}, CPU tier ${machine.tier}, Node ${machine.node}. 128-byte messages, one thread, medians.`
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">`,
    '  <title>Ed25519 speed of ron-kms beside its peers</title>',
    `  <style>${STYLE}\n  </style>`,
    `  <rect class="card" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>`,
    `  ${text(24, 34, 'Ed25519: times as fast as sodium-native', ' class="title"')}`,
    `  ${text(24, 54, 'Longer is better. Blue: lanes of ron-kms; grey: others. Right: time per signature.', ' class="note"')}`,
    ...lines.map(line => `  ${line}`),
    `  ${text(24, height - 16, foot, ' class="note"')}`,
    '</svg>',
  ].join('\n')}\n`
}
