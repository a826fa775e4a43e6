// Commands that run in this process, and what they write.
import { type Command, CommanderError } from 'commander'
import { afterEach, beforeEach, vi } from 'vitest'

/** What a command leaves behind. */
export interface Ended {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Takes what this process writes, until it ends. */
export class Capture {
  stdout = ''
  stderr = ''
  readonly #spies = (['stdout', 'stderr'] as const).map(name =>
    vi.spyOn(process[name], 'write').mockImplementation((text, ...more) => {
      this[name] += text
      const done: unknown = more.at(-1)
      if (typeof done === 'function') done()
      return true
    }),
  )

  end(): void {
    for (const spy of this.#spies) spy.mockRestore()
  }
}

/** Runs a command whose actions do not wait for anything. */
export function runCommand(command: Command, args: readonly string[]): Ended {
  const running = new Running()
  try {
    throwing(command).parse(args, { from: 'user' })
  } catch (error) {
    running.threw(error)
  } finally {
    running.end()
  }
  return running.ended()
}

/** Runs a command to its end. */
export async function runCommandAsync(command: Command, args: readonly string[]): Promise<Ended> {
  const running = new Running()
  try {
    await throwing(command).parseAsync(args, { from: 'user' })
  } catch (error) {
    running.threw(error)
  } finally {
    running.end()
  }
  return running.ended()
}

/**
 * Takes what this process writes during each test of a file, also what a command goes on to write that has returned, and
 * hides variables of the environment whose names match.
 */
export function captureTests(hidden: RegExp): Readonly<Pick<Capture, 'stdout' | 'stderr'>> {
  let capture: Capture | undefined
  let env: NodeJS.ProcessEnv
  beforeEach(() => {
    env = { ...process.env }
    for (const name of Object.keys(env)) if (hidden.test(name)) delete process.env[name]
    capture = new Capture()
  })
  afterEach(() => {
    capture?.end()
    vi.restoreAllMocks()
    process.env = env
    process.exitCode = undefined
  })
  return {
    get stdout() {
      return capture?.stdout ?? ''
    },
    get stderr() {
      return capture?.stderr ?? ''
    },
  }
}

class Running extends Capture {
  #status: number | undefined

  constructor() {
    super()
    process.exitCode = undefined
  }

  threw(error: unknown): void {
    if (!(error instanceof CommanderError)) throw error
    this.#status = error.exitCode
  }

  ended(): Ended {
    const status = this.#status ?? Number(process.exitCode ?? 0)
    process.exitCode = undefined
    return { status, stdout: this.stdout, stderr: this.stderr }
  }
}

/** A command that throws where it would end the process. */
function throwing(command: Command): Command {
  for (const child of command.commands) throwing(child)
  return command.exitOverride()
}
