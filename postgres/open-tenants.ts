// Which tenants have driven executions that are open: for an operator, who then reads one tenant after the other.

import { asError, RefoldError } from '../errors.ts'
import { createPgPool } from './pool.ts'

const OPEN_TENANTS = `
  SELECT DISTINCT tenant FROM refold.workflow_executions
  WHERE status IN ('running', 'paused') AND workflow_version IS NOT NULL ORDER BY tenant`

/** Names only, as refold_engine, which row-level security does not hold; everything else of them is read as refold_api. */
export async function readOpenTenants(databaseUrl: string): Promise<readonly string[]> {
  const pool = createPgPool(databaseUrl, { max: 1, name: 'refold-check-deploy', role: 'refold_engine' })
  try {
    const { rows } = await pool.query<{ tenant: string }>(OPEN_TENANTS)
    return rows.map(({ tenant }) => tenant)
  } catch (cause) {
    throw new RefoldError('database-unavailable', asError(cause).message, { cause })
  } finally {
    await pool.end()
  }
}
