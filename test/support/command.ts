import type { Command } from 'commander'
import { CommanderError } from 'commander'
import { vi } from 'vitest'

/** What a command leaves behind. */
export interface Ended {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command whose actions do not wait for anything, in this process. */
export function runCommand(command: Command, args: readonly string[]): Ended {
  let [stdout, stderr] = ['', '']
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation(text => {
      stdout += text
      return true
    }),
    vi.spyOn(process.stderr, 'write').mockImplementation(text => {
      stderr += text
      return true
    }),
  ]
  process.exitCode = undefined
  let status: number | undefined
  try {
    throwing(command).parse(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    status = error.exitCode
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
  status ??= Number(process.exitCode ?? 0)
  process.exitCode = undefined
  return { status, stdout: stdout.trimEnd(), stderr: stderr.trimEnd() }
}

/** A command that throws where it would end the process. */
function throwing(command: Command): Command {
  for (const child of command.commands) throwing(child)
  return command.exitOverride()
}
