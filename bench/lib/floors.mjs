// What this project promises on a CPU with AVX-512 IFMA, as ratios to sodium-native in the same run.
export const FLOORS = [
  { tier: 'avx512', row: 'verify', label: 'auto, by kid', ratio: 6 },
  { tier: 'avx512', row: 'batch 64, 1 key', label: 'auto, by kid', ratio: 18 },
  { tier: 'avx512', row: 'batch 64, 64 keys', label: 'auto, by kid', ratio: 16 },
  { tier: 'avx512', row: 'verify', label: 'dalek, by kid', ratio: 2 },
  { tier: 'avx512', row: 'verify', label: 'dalek, by key handle', ratio: 2 },
  { tier: 'avx512', row: 'batch 64, 1 key', label: 'dalek-batch, items', ratio: 3 },
  { tier: 'avx512', row: 'batch 64, 64 keys', label: 'dalek-batch, items', ratio: 3 },
]

/** The promise for one row on one tier, or `undefined`. */
export const floorOf = (tier, { row, label }) =>
  FLOORS.find(floor => floor.tier === tier && floor.row === row && floor.label === label)?.ratio
