// Which results the chart shows. Most lanes have several calls, which hardly differ: one bar for each lane and peer.
import { isControl } from './implementations.mjs'

/** The lane `noble` is @noble/curves with other arguments. */
const NEVER = ['noble']
const VERIFIED = 'auto, by kid, verified'
/** `also`: calls that get a bar beside their lane's first one. `without`: lanes that are `auto` under another name. */
const PANELS = [
  { title: 'Verify one signature', row: 'verify' },
  { title: 'Verify a batch of 64 under one key', row: 'batch 64, 1 key' },
  { title: 'Verify a batch of 64 under 64 keys', row: 'batch 64, 64 keys' },
  { title: 'Verify a batch of 64 under keys never seen', row: 'batch 64, keys never seen' },
  { title: 'Sign one message', row: 'sign', also: [VERIFIED], without: ['aws-lc'] },
  { title: 'Sign a batch of 64 under one key', row: 'sign 64, 1 key', also: [VERIFIED], without: ['aws-lc'] },
]
const TIERS = { title: 'Verify a batch of 64 under one key, by instructions', row: 'batch 64, 1 key' }
const TIER_NAMES = { avx512: 'AVX-512 IFMA', avx2: 'AVX2', scalar: 'no vectors' }

const byRatio = (a, b) => b.result.ratio - a.result.ratio
/** Ours by lane and call, others by name; a peer's own way to call it says nothing here. */
const caption = ({ name, lane, how }) => (lane ? `${lane}, ${how}` : name)

function firstOfEach(results, also = []) {
  const seen = new Set()
  return results.filter(({ name, lane, label }) => {
    const who = lane ?? name
    const first = !seen.has(who)
    seen.add(who)
    return first || also.includes(label)
  })
}

function panelOf(results, { title, row, also, without = [] }) {
  const hidden = [...NEVER, ...without]
  const inRow = results.filter(result => result.row === row && !hidden.includes(result.lane))
  const shown = firstOfEach(inRow, also)
  return { title, bars: shown.map(result => ({ caption: caption(result), result })).sort(byRatio) }
}

/** The lane `auto` under each tier that was timed, and the control. */
function tierPanel(results, machine) {
  const inRow = results.filter(result => result.row === TIERS.row)
  const ours = firstOfEach(inRow.filter(({ lane, tier }) => lane === 'auto' && tier === machine.tier))
  const others = inRow.filter(({ label, tier }) => tier !== machine.tier && label === ours[0]?.label)
  const bars = [...ours, ...others].map(result => ({
    caption: `auto, ${TIER_NAMES[result.tier] ?? result.tier}`,
    result,
  }))
  const control = inRow.find(result => isControl(result) && result.tier === machine.tier)
  if (control) bars.push({ caption: control.name, result: control })
  return { title: TIERS.title, bars: bars.sort(byRatio) }
}

/** `{ title, bars: { caption, result }[] }`, from top to bottom; only those with results. */
export function panels(results, machine) {
  const own = results.filter(({ tier }) => tier === machine.tier)
  const all = [...PANELS.map(panel => panelOf(own, panel)), tierPanel(results, machine)]
  return all.filter(({ bars }) => bars.length > 0)
}
