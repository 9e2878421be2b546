// refold dev: what a developer and CI run. Hidden from --help; `npm test` and `npm run verify` come here.

import type { Command } from 'commander'

export function register(program: Command): void {
  const dev = program.command('dev', { hidden: true }).description('commands for those who work on Refold itself')

  dev
    .command('test')
    .description('run the tests on real servers: the stack is started if it must be, and ended again by the last test run or demo')
    .argument('[files...]', 'test files, and options of tap; all tests by default')
    .option('--no-stack', 'start no servers; tests that need one are skipped')
    .allowUnknownOption()
    .helpOption('--help')
    .action(async (args: string[], { stack }: { stack: boolean }) => {
      const { test } = await import('./dev/test.ts')
      process.exitCode = await test(args, stack)
    })

  dev
    .command('bench')
    .description('measure one thing beside the barest code for the same work; without a name: which there are')
    .argument('[args...]', 'name and options of the bench')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (args: string[]) => {
      const { runTool } = await import('./dev/run.ts')
      process.exitCode = await runTool('bench/main.ts', args)
    })

  dev
    .command('verify')
    .description('format, types, lint, generated files, unused code, tests: what CI runs')
    .action(async () => {
      const { verify } = await import('./dev/verify.ts')
      process.exitCode = await verify()
    })

  dev
    .command('soak')
    .description('the long proof, on servers of its own; --help says what it takes')
    .argument('[options...]', 'of test/soak/run.ts')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (args: string[]) => {
      const { runTool } = await import('./dev/run.ts')
      process.exitCode = await runTool('test/soak/run.ts', args)
    })

  dev
    .command('generate')
    .description('write the generated files anew')
    .action(async () => {
      const { generate } = await import('./dev/verify.ts')
      process.exitCode = await generate()
    })
}
