import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  resolve: {
    // Tests import the package by its name and get the sources: one copy of every module, covered as written.
    // What a user gets from dist/ is tested by test/docs.test.ts and test/package.
    alias: [
      { find: /^ron-kms$/, replacement: at('./src/index.ts') },
      { find: /^ron-kms\/client$/, replacement: at('./src/client.ts') },
      { find: /^ron-kms\/http$/, replacement: at('./src/http.ts') },
      { find: /^ron-kms\/passport$/, replacement: at('./src/passport.ts') },
      { find: /^ron-kms\/primitives$/, replacement: at('./src/primitives.ts') },
    ],
  },
  test: {
    // vmThreads cannot load a Node addon; a process a file also keeps a crash of one from hiding others.
    pool: 'forks',
    include: ['test/**/*.test.ts'],
    // test/package installs the packed tarball (network, half a minute): `npm run check` and CI call it.
    exclude: ['test/package/**'],
    // What takes seconds takes many on a machine that does other work: this ends what hangs, no more.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      // In a log of CI the totals do; the closing lines stay in sight.
      reporter: [process.env.CI ? 'text-summary' : 'text', 'lcov'],
      // In force with --coverage only (npm run coverage, and CI). What a test runs in a child process is not counted.
      thresholds: {
        lines: 90,
        'src/*.ts': { lines: 90 },
        'src/{config,lanes,logging,metrics,passport,primitives,server}/**/*.ts': { lines: 90 },
      },
    },
  },
})
