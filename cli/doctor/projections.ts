// Projections: whether somebody folds each, whether it is parked, whether what is being done to it goes on.

import type { OperationLook, ProjectionLook } from '../../postgres/look.ts'
import { type Finding, ok, warn, wrong } from './finding.ts'

/** An operation notes each step, most of them within a second; one of which nothing was noted for so long stands still, ms. */
const STANDS_AFTER = 60_000

export function judgeProjections(projections: readonly ProjectionLook[]): Finding[] {
  const found = projections.flatMap((one) => [...judgeFolding(one), ...judgeParked(one), ...judgeOperation(one)])
  return found.length > 0 || projections.length === 0 ? found : [ok('projections', `${projections.length}, none stands still`)]
}

const starts = (name: string, version: number | null) =>
  `Start an application that defines ${name}${version === null ? '' : ` version ${version}`}: npm run refold -- start --roles projector --app …`

function judgeFolding(one: ProjectionLook): Finding[] {
  if (one.isStopped || one.version === null || one.foldedBy !== 0) return []
  return [warn('projections', `no process folds ${one.name}: its rows stand still`, starts(one.name, one.version))]
}

function judgeParked({ name, parked }: ProjectionLook): Finding[] {
  const generations = [...Map.groupBy(parked, ({ generation }) => generation)]
  return generations.map(([generation, places]) => {
    const isLive = places.some((place) => place.isLive)
    const at = places.map(({ position }) => position).join(', ')
    const passed = `mend the code, or npm run refold -- projection skip ${name} --reason …`
    return (isLive ? wrong : warn)('projections', `${name} generation ${generation} is parked at ${at}`, `See refold incidents; ${passed}`)
  })
}

/** One that is ready waits for a person who looks at the differences: nothing stands still, as long as its generation is folded. */
function whyStill({ state, wanted, quiet, generation, unfolded }: OperationLook): string | undefined {
  if (unfolded) return `no process folds generation ${generation}`
  if (quiet < STANDS_AFTER || (state === 'ready' && wanted === null)) return undefined
  return `nothing was done for ${Math.round(quiet / 1000)} s`
}

/** Whether it stands because of what is parked: its own generation, or the live one with which it is compared. */
const waitsForParked = ({ state, generation }: OperationLook, parked: ProjectionLook['parked']) =>
  parked.some((place) => place.generation === generation || (place.isLive && state === 'comparing'))

function judgeOperation({ name, foldedBy, operation, parked }: ProjectionLook): Finding[] {
  const why = operation ? whyStill(operation) : undefined
  if (!operation || why === undefined) return []
  const { id, kind, state, version, unfolded } = operation
  // Why it stands is said already.
  if (!unfolded && waitsForParked(operation, parked)) return []
  // Of its own generation, not of the live one: a rollback waits for the code of before.
  const start = foldedBy === null ? 'Start a process with --roles recorder' : starts(name, version)
  return [warn('projections', `${kind} of ${name}: ${state}, ${why}`, `${start}; refold operation watch ${id} shows its steps`)]
}
