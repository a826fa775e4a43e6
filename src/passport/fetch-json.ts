/** Answers of other servers, whose length is theirs to choose. */

/** Longest answer that is read, in bytes. */
const LARGEST_BYTES = 2 ** 20

/** The text of an answer of at most a MiB; rejects where it is longer, before more of it is read. */
export async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  // Leaving the loop cancels the rest.
  for await (const chunk of response.body ?? []) {
    length += chunk.byteLength
    if (length > LARGEST_BYTES) throw new RangeError('the answer is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length).toString()
}
