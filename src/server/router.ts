import type { Result, Router } from 'hono/router'
import { TrieRouter } from 'hono/router/trie-router'

/**
 * Hono's trie router, which searches once for a path without parameters. Its faster routers cannot hold our paths, some
 * of which name the same thing in two forms.
 */
export class RememberingRouter<T> implements Router<T> {
  readonly name = 'RememberingRouter'
  readonly #trie = new TrieRouter<T>()
  /** Paths without parameters. Only what they answer is remembered, so there are never more than routes. */
  readonly #literal = new Set<string>()
  readonly #found = new Map<string, Map<string, Result<T>>>()

  add(method: string, path: string, handler: T): void {
    this.#trie.add(method, path, handler)
    this.#found.clear()
    if (/^[\w/.-]+$/.test(path)) this.#literal.add(path)
  }

  match(method: string, path: string): Result<T> {
    return this.#found.get(method)?.get(path) ?? this.#search(method, path)
  }

  #search(method: string, path: string): Result<T> {
    const result = this.#trie.match(method, path)
    if (this.#literal.has(path) && result[0].length > 0) {
      const ofMethod = this.#found.get(method) ?? new Map<string, Result<T>>()
      this.#found.set(method, ofMethod.set(path, result))
    }
    return result
  }
}
