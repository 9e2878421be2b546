// Projections: whether somebody folds each, whether it is parked, whether what is being done to it goes on.

import type { ProjectionLook } from '../../postgres/look.ts'
import { type Finding, ok, warn, wrong } from './finding.ts'

/** An operation notes each step, most of them within a second; one of which nothing was noted for so long stands still, ms. */
const STANDS_AFTER = 60_000

export function judgeProjections(projections: readonly ProjectionLook[]): Finding[] {
  const found = projections.flatMap((one) => [...judgeFolding(one), ...judgeParked(one), ...judgeOperation(one)])
  return found.length > 0 || projections.length === 0 ? found : [ok('projections', `${projections.length}, none stands still`)]
}

const starts = ({ name, version }: ProjectionLook) =>
  `Start an application that defines ${name}${version === null ? '' : ` version ${version}`}: npm run refold -- start --roles projector --app …`

function judgeFolding(one: ProjectionLook): Finding[] {
  if (one.isStopped || one.version === null || one.foldedBy !== 0) return []
  return [warn('projections', `no process folds ${one.name}: its rows stand still`, starts(one))]
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

/** One that is ready waits for a person who looks at the differences: nothing stands still. */
function judgeOperation(one: ProjectionLook): Finding[] {
  const { name, operation, parked } = one
  if (!operation || operation.quiet < STANDS_AFTER || (operation.state === 'ready' && operation.wanted === null)) return []
  if (parked.length > 0) return [] // said already
  const { id, kind, state, quiet } = operation
  const recorders = 'Start a process with --roles recorder'
  const todo = `${one.foldedBy === null ? recorders : starts(one)}; refold operation watch ${id} shows its steps`
  return [warn('projections', `${kind} of ${name}: ${state}, nothing was done for ${Math.round(quiet / 1000)} s`, todo)]
}
