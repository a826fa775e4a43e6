import { expect } from 'vitest'
import { KmsError } from '../../src/index.js'

/** The code and the field of what a call throws or rejects with. */
export async function refusal(call: () => unknown): Promise<string> {
  try {
    await call()
  } catch (error) {
    expect(error).toBeInstanceOf(KmsError)
    const { code, field } = error as KmsError
    return `${code} ${field}`
  }
  return 'not refused'
}

/** A view whose memory is gone. */
export function detached(length = 8): Uint8Array {
  const bytes = new Uint8Array(length)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}
