// Applications whose projections are refused when they start. REFUSED chooses by what; without it, it starts.

import { defineApp, defineProjection } from '../../index.ts'

const refused = process.env['REFUSED'] ?? ''

const tally = (name: string, table: string, key: readonly string[] = ['state']) =>
  defineProjection({
    name,
    version: 1,
    tables: { [table]: { columns: { state: 'text', n: refused === 'columns' ? 'integer' : 'bigint' }, key } },
    handle: async () => undefined,
  })

const projections = () => {
  switch (refused) {
    case 'key':
      return [tally('tallies', 'tally', [])]
    case 'name':
      return [tally('tallies', 'tally'), tally('tallies', 'other_tally')]
    case 'table':
      return [tally('other_tallies', 'tally')]
    default:
      return [tally('tallies', 'tally')]
  }
}

export default defineApp({ projections: projections() })
