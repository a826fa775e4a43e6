// What this project promises, as ratios to sodium-native in the same row of the same run, on one core; and its aims.
// The tier is that of the process: the one of the CPU, or one that is forced.
export const FLOORS = [
  { tier: 'avx512', row: 'sign', label: 'auto, by kid', ratio: 1.8, aim: 1.9 },
  { tier: 'avx512', row: 'sign', label: 'auto, by kid, verified', ratio: 1, aim: 1.15 },
  { tier: 'avx512', row: 'sign 64, 1 key', label: 'auto, by kid', ratio: 1.9 },
  { tier: 'avx512', row: 'verify', label: 'auto, by kid', ratio: 6, aim: 9 },
  { tier: 'avx512', row: 'batch 64, 1 key', label: 'auto, by kid', ratio: 18, aim: 27 },
  { tier: 'avx512', row: 'batch 64, 64 keys', label: 'auto, by kid', ratio: 16, aim: 22 },
  { tier: 'avx512', row: 'batch 64, keys never seen', label: 'auto, items', ratio: 5, aim: 7 },
  { tier: 'avx2', row: 'batch 64, 1 key', label: 'auto, by kid', ratio: 4.5, aim: 6 },
  { tier: 'scalar', row: 'batch 64, 1 key', label: 'auto, by kid', ratio: 3.5, aim: 4.5 },
  { tier: 'avx512', row: 'verify', label: 'dalek, by kid', ratio: 2 },
  { tier: 'avx512', row: 'verify', label: 'dalek, by key handle', ratio: 2 },
  { tier: 'avx512', row: 'batch 64, 1 key', label: 'dalek-batch, items', ratio: 3 },
  { tier: 'avx512', row: 'batch 64, 64 keys', label: 'dalek-batch, items', ratio: 3 },
]

/** The promise for a result, or `undefined`. */
export const floorOf = ({ tier, row, label }) =>
  FLOORS.find(floor => floor.tier === tier && floor.row === row && floor.label === label)
