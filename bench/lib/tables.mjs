// What the tables of public keys cost by now, which only the addon itself tells.
const addon = new URL('native.js', import.meta.resolve('ron-kms'))
const { requireNative } = await import(addon)

export const tableStats = () => requireNative().ed25519TableStats()
