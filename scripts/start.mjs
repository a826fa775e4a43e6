// `npm start [-- flags]`: builds, then runs the server in development mode on embedded defaults.
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { at } from './lib.mjs'

await build()
stopWithNpm()

// In this process, not in a child: signals reach the server once, and its exit code is ours.
const main = at('dist/cli/main.js')
const args = ['serve', '--dev', ...process.argv.slice(2)]
console.log(`==> ron-kms ${args.join(' ')}`)
process.argv = [process.execPath, main, ...args]
await import(pathToFileURL(main).href)

/**
 * npm hands a SIGTERM to the shell that it runs scripts in, and that shell ends without passing it on. The server
 * would be left behind with its ports taken: so when the shell is gone, it gets the signal after all, unless it
 * had one already (the terminal sends SIGINT to every process; a second signal would cut the drain short).
 */
function stopWithNpm() {
  if (process.env.npm_lifecycle_event !== 'start' || process.platform === 'win32') return
  const shell = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === shell) return
    clearInterval(watch)
    process.kill(process.pid, 'SIGTERM')
  }, 250)
  watch.unref()
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
  ]) {
    process.on(signal, () => {
      clearInterval(watch)
      // Until the server listens for it, the signal ends the process as it would without this.
      if (process.listenerCount(signal) === 1) process.exit(128 + number)
    })
  }
}
