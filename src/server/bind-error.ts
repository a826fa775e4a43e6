/** An address that cannot be bound; the message is one line that names the setting. */
export class BindError extends Error {
  override readonly name = 'BindError'
}
