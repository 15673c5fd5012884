/**
 * Lays a provenance graph out in layers, from the request at the top to the answer at the bottom.
 * Pure: nodes and sizes in, positions out.
 *
 * A call that is embedded in a run becomes a frame of its own: its inside is laid out first and then
 * takes part in the layers around it like one large node. Edges over several layers run in lanes,
 * one for each node with many edges, so that they never cross a card.
 *
 * Source: K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical system
 * structures", 1981; coordinates by isotonic regression (pool adjacent violators).
 */

export const CARD = { width: 184, height: 54 };
const GAP = { x: 22, y: 32, lane: 14 };
const FRAME = { side: 16, top: 44, bottom: 18 };
const SWEEPS = 8;
/** How much straighter a lane is held than a card. */
const LANE_WEIGHT = 500;
/** How much wider than its widest layer a drawing may be, so that edges can be straight. */
const ROOM = 1.1;

/**
 * @typedef {{id: string, inputs: string[], frame: string|null}} Leaf `frame` is the id of the
 *   embedded call that it stands in.
 * @typedef {{id: string, frame: string|null, folded: boolean}} Frame
 */

/**
 * Lays out a whole graph.
 *
 * @param {Leaf[]} leaves each after its inputs.
 * @param {Frame[]} frames outer ones before inner ones; a folded one is drawn as one card.
 * @param {number} columns how many cards stand side by side before a layer is broken.
 * @returns {{width: number, height: number, cards: Map<string, object>, frames: Map<string, object>,
 *   edges: Array<{from: string, to: string, points: Array<[number, number]>}>}}
 */
export function layOut(leaves, frames, columns) {
  const places = placesOf(leaves, frames);
  const found = { cards: new Map(), frames: new Map(), edges: [] };
  const inside = new Map([...frames.map((frame) => [frame.id, []]), [null, []]]);
  for (const item of places.items) {
    inside.get(item.frame).push(item);
  }
  const sizes = new Map();
  const layouts = new Map();
  for (const frame of [...frames].reverse().filter((one) => !one.folded)) {
    const laid = layLevel(inside.get(frame.id), places.edges.get(frame.id) ?? [], sizes, columns);
    layouts.set(frame.id, laid);
    sizes.set(frame.id, {
      width: laid.width + 2 * FRAME.side,
      height: laid.height + FRAME.top + FRAME.bottom,
    });
  }
  const whole = layLevel(inside.get(null), places.edges.get(null) ?? [], sizes, columns);
  settle(whole, [0, 0], layouts, found);
  return { width: whole.width, height: whole.height, ...found };
}

/** Finds out what stands in which frame, and lifts each edge to the level on which both ends are. */
function placesOf(leaves, frames) {
  const frameOf = new Map(frames.map((frame) => [frame.id, frame]));
  const chains = new Map();
  const items = [];
  for (const frame of frames) {
    if (chainOf(frame.frame, frameOf).every((one) => !frameOf.get(one)?.folded)) {
      items.push({ id: frame.id, frame: frame.frame, isFrame: true });
    }
  }
  for (const leaf of leaves) {
    const chain = chainOf(leaf.frame, frameOf);
    const folded = chain.findLast((id) => frameOf.get(id)?.folded);
    chains.set(
      leaf.id,
      folded === undefined ? [leaf.id, ...chain] : chain.slice(chain.indexOf(folded)),
    );
    if (folded === undefined) {
      items.push({ id: leaf.id, frame: leaf.frame, isFrame: false });
    }
  }
  const edges = new Map();
  const order = new Map(leaves.map((leaf, index) => [leaf.id, index]));
  for (const leaf of leaves) {
    for (const input of leaf.inputs.filter((one) => order.has(one))) {
      liftEdge(chains.get(input), chains.get(leaf.id), edges);
    }
  }
  return { items, edges };
}

/** Returns the frames around something, innermost first. */
function chainOf(frame, frameOf) {
  const chain = [];
  for (let at = frame; at !== null; at = frameOf.get(at).frame) {
    chain.push(at);
  }
  return chain;
}

function liftEdge(from, to, edges) {
  const level = from.find((id) => to.includes(id)) ?? null;
  const start = level === null ? from.at(-1) : from[from.indexOf(level) - 1];
  const end = level === null ? to.at(-1) : to[to.indexOf(level) - 1];
  if (start === undefined || end === undefined || start === end) {
    return;
  }
  const known = edges.get(level) ?? [];
  if (!known.some((edge) => edge.from === start && edge.to === end)) {
    known.push({ from: start, to: end });
  }
  edges.set(level, known);
}

/** Lays out one level; sizes of frames are known already. */
function layLevel(items, edges, sizes, columns) {
  const boxes = items.map((item) => ({
    ...item,
    ...(sizes.get(item.id) ?? CARD),
    above: [],
    below: [],
    isLane: false,
  }));
  const byId = new Map(boxes.map((box) => [box.id, box]));
  for (const edge of edges) {
    byId.get(edge.to).above.push(byId.get(edge.from));
    byId.get(edge.from).below.push(byId.get(edge.to));
  }
  const layers = breakLayers(rankBoxes(boxes), columns);
  const routes = addLanes(layers, boxes);
  orderLayers(layers);
  placeAcross(layers);
  const height = placeDown(layers);
  const left = Math.min(...layers.flat().map((box) => box.x));
  for (const box of layers.flat()) {
    box.x -= left;
  }
  const width = Math.max(...layers.flat().map((box) => box.x + box.width), CARD.width);
  return { width, height, boxes, routes };
}

/** Ranks by the longest way down, so that a node without inputs stands close to what uses it. */
function rankBoxes(boxes) {
  const depth = new Map();
  const visit = [...boxes];
  while (visit.length > 0) {
    const box = visit.at(-1);
    const waiting = box.below.filter((next) => !depth.has(next));
    if (depth.has(box) || waiting.length === 0) {
      depth.set(box, 1 + Math.max(-1, ...box.below.map((next) => depth.get(next))));
      visit.pop();
    } else {
      visit.push(...waiting);
    }
  }
  const deepest = Math.max(0, ...depth.values());
  const layers = Array.from({ length: deepest + 1 }, () => []);
  for (const box of boxes) {
    layers[deepest - depth.get(box)].push(box);
  }
  return layers.filter((layer) => layer.length > 0);
}

/** Breaks layers that are too wide; frames count by their width. */
function breakLayers(layers, columns) {
  const widest = columns * (CARD.width + GAP.x);
  const broken = [];
  for (const layer of layers) {
    let row = [];
    let width = 0;
    for (const box of layer) {
      if (row.length > 0 && width + box.width > widest) {
        broken.push(row);
        row = [];
        width = 0;
      }
      row.push(box);
      width += box.width + GAP.x;
    }
    broken.push(row);
  }
  broken.forEach((layer, rank) => layer.forEach((box) => (box.rank = rank)));
  return broken;
}

/**
 * Adds a lane to every layer that edges pass on their way, and returns their routes. Edges of one
 * box share a lane: those of the box with more of them.
 */
function addLanes(layers, boxes) {
  const edges = boxes.flatMap((to) =>
    to.above.map((from) => ({ from, to, leaving: from.below.length > to.above.length })),
  );
  const known = boxes.map(() => ({ true: new Map(), false: new Map() }));
  const lanesOf = new Map(boxes.map((box, index) => [box, known[index]]));
  for (const box of boxes) {
    box.above = [];
    box.below = [];
  }
  return edges.map(({ from, to, leaving }) => {
    const shared = lanesOf.get(leaving ? from : to)[leaving];
    const lanes = [];
    for (let rank = from.rank + 1; rank < to.rank; rank += 1) {
      if (!shared.has(rank)) {
        const lane = { isLane: true, rank, width: 0, height: 0, above: [], below: [], x: 0 };
        layers[rank].push(lane);
        shared.set(rank, lane);
      }
      lanes.push(shared.get(rank));
    }
    const steps = [from, ...lanes, to];
    steps.slice(1).forEach((step, index) => link(steps[index], step));
    return { from, lanes, to };
  });
}

function link(upper, lower) {
  if (!upper.below.includes(lower)) {
    upper.below.push(lower);
    lower.above.push(upper);
  }
}

/** Orders each layer by the mean place of its neighbours, down and up in turn. */
function orderLayers(layers) {
  const number = (layer) => layer.forEach((box, index) => (box.place = index));
  layers.forEach(number);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers.slice(1) : layers.slice(0, -1).reverse()) {
      for (const box of layer) {
        const near = down ? box.above : box.below;
        const sum = near.reduce((total, one) => total + one.place, 0);
        box.pull = near.length === 0 ? box.place : sum / near.length;
      }
      layer.sort((one, other) => one.pull - other.pull || one.place - other.place);
      number(layer);
    }
  }
}

/** Moves boxes towards their neighbours as far as order, distances and the widest layer allow. */
function placeAcross(layers) {
  const room = ROOM * Math.max(...layers.map((layer) => offsetsOf(layer).reach));
  for (const layer of layers) {
    pack(
      layer,
      layer.map(() => room / 2),
      room,
    );
  }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      pack(
        layer,
        layer.map((box) => wishOf(box, down)),
        room,
      );
    }
  }
}

/** Returns how far right of the first box each begins at least, and where the last one ends. */
function offsetsOf(layer) {
  let reach = 0;
  const offsets = layer.map((box, index) => {
    const gap = index === 0 ? 0 : box.isLane || layer[index - 1].isLane ? GAP.lane : GAP.x;
    const at = reach + gap;
    reach = at + box.width;
    return at;
  });
  return { offsets, reach };
}

/** Returns where the middle of a box would best be, by what stands above or below it. */
function wishOf(box, down) {
  const middle = (one) => one.x + one.width / 2;
  const [near, far] = down ? [box.above, box.below] : [box.below, box.above];
  const lanes = near.filter((one) => one.isLane);
  // A lane follows its lane: what joins it on the way does not bend it.
  const pulling = box.isLane && lanes.length > 0 ? lanes : near.length > 0 ? near : far;
  const sum = pulling.reduce((total, one) => total + middle(one), 0);
  return pulling.length === 0 ? middle(box) : sum / pulling.length;
}

/** Places a layer's boxes in their order, as close to their wishes as weighted squares go. */
function pack(layer, wishes, room) {
  const { offsets, reach } = offsetsOf(layer);
  const blocks = [];
  layer.forEach((box, index) => {
    const weight = box.isLane ? LANE_WEIGHT : 1;
    let block = { sum: weight * (wishes[index] - box.width / 2 - offsets[index]), weight, size: 1 };
    while (
      blocks.length > 0 &&
      blocks.at(-1).sum / blocks.at(-1).weight > block.sum / block.weight
    ) {
      const { sum, weight: heavy, size } = blocks.pop();
      block = { sum: block.sum + sum, weight: block.weight + heavy, size: block.size + size };
    }
    blocks.push(block);
  });
  let index = 0;
  for (const block of blocks) {
    // The best within bounds is the best without them, moved to the nearest bound.
    const left = Math.min(Math.max(block.sum / block.weight, 0), room - reach);
    for (let taken = 0; taken < block.size; taken += 1, index += 1) {
      layer[index].x = left + offsets[index];
    }
  }
}

function placeDown(layers) {
  let y = 0;
  for (const layer of layers) {
    const height = Math.max(...layer.map((box) => box.height));
    for (const box of layer) {
      box.y = y + (height - box.height) / 2;
      box.layer = [y, y + height];
    }
    y += height + GAP.y;
  }
  return y - GAP.y;
}

/** Adds a level's positions to what was found, and those of the frames within it. */
function settle(level, [left, top], layouts, found) {
  for (const box of level.boxes) {
    const place = { x: left + box.x, y: top + box.y, width: box.width, height: box.height };
    const inner = layouts.get(box.id);
    (box.isFrame ? found.frames : found.cards).set(box.id, place);
    if (inner !== undefined) {
      settle(inner, [place.x + FRAME.side, place.y + FRAME.top], layouts, found);
    }
  }
  for (const route of level.routes) {
    const at = (box, y) => [left + box.x + box.width / 2, top + y];
    // Straight within a layer, beside whatever is taller there; bends are between layers.
    const points = [
      at(route.from, route.from.y + route.from.height),
      at(route.from, route.from.layer[1]),
    ];
    for (const lane of route.lanes) {
      points.push(at(lane, lane.layer[0]), at(lane, lane.layer[1]));
    }
    points.push(at(route.to, route.to.layer[0]), at(route.to, route.to.y));
    found.edges.push({ from: route.from.id, to: route.to.id, points });
  }
}
