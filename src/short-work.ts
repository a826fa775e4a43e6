/**
 * When a batch is worked on at once, although it was asked for off the event loop.
 *
 * The way to another thread and back costs some 50 µs on two cores, copies and the promise included, and each item
 * that is worked on elsewhere saves its own time at most. Below about 100 µs of work the way costs more than it
 * saves, and nobody else on the event loop notices the difference. `node bench/hop.mjs` measures both.
 */
const SHORT_MICROS = 100

/** Microseconds of an item with a small message, on a processor with AVX-512. */
const ITEM_MICROS = { verify: 2, sign: 9, 'verify ML-DSA': 35 } as const
/** Bytes of message that are hashed in a microsecond. */
const BYTES_A_MICRO = { verify: 1000, sign: 1000, 'verify ML-DSA': 400 } as const

/** Whether a batch of so many items, with so many bytes of messages, is not worth a thread. */
export function isShort(what: keyof typeof ITEM_MICROS, items: number, bytes: number): boolean {
  return items * ITEM_MICROS[what] + bytes / BYTES_A_MICRO[what] <= SHORT_MICROS
}
