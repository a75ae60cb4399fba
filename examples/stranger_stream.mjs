// Streams telemetry with Node's own WebSocket: AC_BRIDGE_URI=… node --experimental-websocket examples/stranger_stream.mjs
// [BATCHES]. From Node 22 on it needs no flag. What it sends is made up; docs/wire-protocol.md has all fields. Over TLS,
// NODE_EXTRA_CA_CERTS names a file with the receiver's certificate (docs/telemetry.md says how to get it).
import { randomUUID } from "node:crypto";

const uri = new URL(process.env.AC_BRIDGE_URI);
const batches = Number(process.argv[2] ?? 20);
const headers = { Authorization: `Basic ${btoa(`${uri.username}:${uri.password}`)}` };
const link = new WebSocket(`${uri.protocol}//${uri.host}/`, { protocols: ["ac-training.v1"], headers });
const say = (message) => link.send(JSON.stringify(message));

link.onopen = () => say({ type: "hello", bridge: "stranger.mjs", stream: randomUUID().replaceAll("-", ""), role: "stream" });
link.onmessage = ({ data }) => {
  console.log(data);
  const { type, stored_through: through } = JSON.parse(data);
  if (type === "error" || through === batches) link.close();
  else if (through !== undefined) setTimeout(() => say({ type: "telemetry_batch", number: through + 1, frames: [frame(through)] }), 100);
};
link.onerror = ({ message }) => console.error(message ?? "the link has failed");
link.onclose = ({ code, reason }) => { if (code !== 1000) console.error(code, reason); };

function frame(index) {
  const pedals = { throttle: 0.5, brake: 0.0, steer: 0.0 };
  return { speed: 30 + 10 * Math.sin(index / 10), gear: 3, laps: 0, lap_time: index / 10, time: index / 10, ...pedals };
}
