// Code blocks of pages are regions of files that run: `<!-- examples/x.sh#name -->` above a block fills it with the lines
// between `# region name` and `# endregion`.

import { readFileSync } from 'node:fs'
import path from 'node:path'

const BLOCK = /<!-- ((?:\.\.\/)?[\w./-]+)#([\w-]+) -->\n\n```(\w+)\n([^]*?)```/g

/** Lines of a region, without those that name it. */
export function regionOf(text: string, name: string): string {
  const lines = text.split('\n')
  const first = lines.findIndex((line) => /^(?:#|\/\/|--) region (.+)$/.exec(line)?.[1] === name)
  const last = lines.findIndex((line, at) => at > first && /^(?:#|\/\/|--) endregion$/.test(line))
  if (first < 0 || last < 0) throw new Error(`there is no region ${name}`)
  return `${lines
    .slice(first + 1, last)
    .join('\n')
    .trim()}\n`
}

/** The page with every such block filled from its file; paths are from `folder`. */
export function fillBlocks(page: string, folder: string): string {
  return page.replaceAll(BLOCK, (_, file: string, name: string, language: string) => {
    const region = regionOf(readFileSync(path.join(folder, file), 'utf8'), name)
    return `<!-- ${file}#${name} -->\n\n\`\`\`${language}\n${region}\`\`\``
  })
}
