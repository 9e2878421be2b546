// What a definition must be, and what two of them under one version must have in common.

import t from 'tap'
import { type Columns, definitionText, defineProjection } from '../../projections/define.ts'

type Table = { columns: Columns; key: readonly string[]; view?: 'rows' | 'sum' }

const handled = (name: string, tables: Record<string, Table>, version = 1) =>
  defineProjection({ name, version, tables, handle: () => Promise.resolve() })

const oneTable = (table: Partial<Table>) =>
  handled('orders', { orders: { columns: { state: 'text', n: 'bigint' }, key: ['state'], ...table } })

t.test('what is no definition is refused with what to mend', async (t) => {
  const refused: [string, () => unknown, RegExp][] = [
    ['a name in capitals', () => handled('Orders', {}), /projection name "Orders": lower case/],
    ['a name that is too long', () => handled('o'.repeat(41), {}), /at most 40/],
    ['a version that is none', () => handled('orders', {}, 0), /projection orders: version is a whole number from 1/],
    ['a version with a fraction', () => handled('orders', {}, 1.5), /version is a whole number/],
    ['no table', () => handled('orders', {}), /projection orders has no table/],
    [
      'a table in capitals',
      () => handled('orders', { Lines: { columns: { a: 'text' }, key: ['a'] } }),
      /table Lines: a name is lower case/,
    ],
    ['no key', () => oneTable({ key: [] }), /projection orders has no primary key/],
    ['a key that is no column', () => oneTable({ key: ['other'] }), /key column other is not among its columns/],
    ['a key without an order', () => oneTable({ columns: { state: 'json' } }), /key column state is json, which has no order/],
    [
      'a column that each table has',
      () => oneTable({ columns: { state: 'text', tenant: 'text' } }),
      /every table has a column tenant already/,
    ],
    [
      'a column that each view has',
      () => oneTable({ columns: { state: 'text', last_position: 'text' } }),
      /has a column last_position already/,
    ],
    [
      'a key that REST could not filter by',
      () => oneTable({ columns: { cursor: 'text' }, key: ['cursor'] }),
      /projection orders: key column cursor: REST filters rows by key columns, and cursor is a parameter of its own/,
    ],
    [
      'a column that SQL would have to quote',
      () => oneTable({ columns: { state: 'text', 'a b': 'text' } }),
      /"a b" is no name of a column/,
    ],
    // @ts-expect-error Not among the types of columns: the compiler says so too.
    ['an unknown type', () => oneTable({ columns: { state: 'varchar' } }), /column state has type varchar; types are text, integer/],
    ['a sum of texts', () => oneTable({ columns: { state: 'text', who: 'text' }, view: 'sum' }), /view sum adds numbers up; who is none/],
  ]
  for (const [what, define, message] of refused) t.throws(define, { name: 'TypeError', message }, what)
})

t.test('a column that is no part of the key may have the name of a parameter', async (t) => {
  t.match(oneTable({ columns: { state: 'text', limit: 'bigint', table: 'text' } }).tables, [{ columns: { limit: 'bigint' } }])
  for (const name of ['limit', 'table']) t.throws(() => oneTable({ columns: { [name]: 'text' }, key: [name] }), /parameter of its own/)
})

t.test('a table of several is named in the error', async (t) => {
  const good: Table = { columns: { a: 'text' }, key: ['a'] }
  t.throws(() => handled('orders', { orders: good, lines: { ...good, key: [] } }), /projection orders, table lines has no primary key/)
})

t.test('a fold has one table of its own name, and rows as they are unless it says otherwise', async (t) => {
  const projection = defineProjection({
    name: 'orders',
    version: 3,
    columns: { state: 'text', n: 'bigint' },
    key: ['state'],
    keys: ({ toState }) => [{ state: toState }],
    initial: ({ state }) => ({ state, n: 0 }),
    evolve: (row) => ({ ...row, n: (row.n ?? 0) + 1 }),
  })
  t.match(projection, {
    how: 'fold',
    version: 3,
    uses: [],
    tables: [{ name: 'orders', columns: { state: 'text', n: 'bigint' }, key: ['state'], view: 'rows' }],
  })
})

t.test('tables, columns, their types, keys, views and uses are the definition; the version is not', async (t) => {
  const base = definitionText(oneTable({}))
  t.equal(definitionText(handled('orders', { orders: { columns: { state: 'text', n: 'bigint' }, key: ['state'] } }, 2)), base)
  const others: Partial<Table>[] = [
    { columns: { state: 'text', n: 'integer' } },
    { columns: { state: 'text', n: 'bigint', more: 'text' } },
    { key: ['state', 'n'] },
    { view: 'sum' },
  ]
  for (const other of others) t.not(definitionText(oneTable(other)), base, JSON.stringify(other))
})
