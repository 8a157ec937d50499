/** What no gateway may pass on: refused with the proper error, recorded, not forwarded, and the connection lives on. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerRecord } from "../../src/client/backend.js";
import {
  type HttpGateway,
  jsonLines,
  main,
  makePlace,
  type Place,
  startHttpGateway,
  wrapWay,
} from "../fixtures/gateway.js";
import { readLedger } from "../fixtures/ledger.js";
import { openPerson, type Person } from "../fixtures/person.js";
import { type Frame, RawStdio, refusalIn, textOf } from "../fixtures/raw.js";
import { fakeServer } from "../fixtures/servers.js";
import { WireSession } from "../fixtures/wire.js";

const PARSE = -32700;
const INVALID = -32600;
const NO_METHOD = -32601;
const PARAMS = -32602;

/** Bytes of one frame, in the configuration of the gateways here. */
const LIMIT = 2 * 1024 * 1024;

interface BadFrame {
  readonly what: string;
  readonly bytes: string | Buffer;
  /** Null: a notification, which is not answered. */
  readonly code: number | null;
  /** The id of the error; null where none could be read. */
  readonly id?: number | string | null;
}

/** A call that policy allows: were it passed on, the server would act. */
const good =
  '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete_file","arguments":{"path":"/x"}}}';
const withArguments = (text: string): string => good.replace('{"path":"/x"}', text);
const withName = (text: string): string => good.replace('"name":"delete_file"', text);
const withId = (text: string): string => good.replace('"id":7', `"id":${text}`);
const withMethod = (text: string): string => good.replace('"tools/call"', text);
const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
const broken = (...bytes: number[]): Buffer => {
  const [before = "", after = ""] = good.split("/x");
  return Buffer.concat([Buffer.from(before), Buffer.from(bytes), Buffer.from(after)]);
};
const keys = (count: number): string =>
  Array.from({ length: count }, (_, index) => `"k${index}":0`).join(",");

function table(
  code: number | null,
  frames: Record<string, string | Buffer>,
  id?: number | string | null,
): BadFrame[] {
  return Object.entries(frames).map(([what, bytes]) => ({
    what,
    bytes,
    code,
    ...(id === undefined ? {} : { id }),
  }));
}

const groups: ReadonlyArray<readonly [kind: string, frames: readonly BadFrame[]]> = [
  [
    "What is not JSON, or not UTF-8",
    table(
      PARSE,
      {
        "words that are no JSON": "hello",
        "half a frame": good.slice(0, -1),
        "two frames in one": `${good} ${good}`,
        "a trailing comma": withArguments('{"path":"/x",}'),
        "a comment": good.replace("{", "{/* */"),
        "single quotes": good.replaceAll('"', "'"),
        "the number NaN": withArguments('{"path":NaN}'),
        "a number with a leading zero": withArguments('{"path":01}'),
        "a raw control character in a string": withName('"name":"delete\u0001_file"'),
        "a NUL in the name": withName('"name":"delete_file\0"'),
        "a byte order mark": `\ufeff${good}`,
        "a batch behind a byte order mark": `\ufeff[${good}]`,
        "UTF-16": Buffer.from(good, "utf16le"),
        "UTF-16 with its mark": Buffer.from(`\ufeff${good}`, "utf16le"),
        "a byte that is not UTF-8": broken(0xff),
        "an overlong slash": broken(0xc0, 0xaf),
        "an overlong NUL": broken(0xe0, 0x80, 0x80),
        "a surrogate as UTF-8": broken(0xed, 0xa0, 0x80),
        "half a character": broken(0xe2, 0x82),
        "a hundred thousand open brackets": "[".repeat(100_000),
        "a hundred thousand open objects": '{"a":'.repeat(100_000),
      },
      null,
    ),
  ],
  [
    "What is no single request",
    table(
      INVALID,
      {
        "a number": "42",
        "a text": '"tools/call"',
        null: "null",
        "a batch": `[${good},${good}]`,
        "a batch of one": `[${good}]`,
        "a batch behind white space": ` \t [${good}]`,
        "an empty batch": "[]",
        "a batch in a batch": `[[${good}]]`,
        "a hundred thousand brackets": nested(100_000),
        "an id that is null": withId("null"),
        "an id with a fraction": withId("1.5"),
        "an id that is an object": withId('{"a":1}'),
        "an id that is a list": withId("[7]"),
        "an id that is a boolean": withId("true"),
        "an id beyond 2^53": withId("9007199254740993"),
      },
      null,
    ),
  ],
  [
    "What two parsers could read differently",
    table(
      INVALID,
      {
        "an id with a point": withId("7.0"),
        "an id with an exponent": withId("70e-1"),
        "no version": good.replace('"jsonrpc":"2.0",', ""),
        "another version": good.replace('"2.0"', '"1.0"'),
        "a version that is a number": good.replace('"2.0"', "2.0"),
        "neither method nor result": '{"jsonrpc":"2.0","id":7}',
        "a method that is a number": withMethod("1"),
        "a method that is null": withMethod("null"),
        "parameters in a list": good.replace(/"params":.*/, '"params":["delete_file"]}'),
        "parameters that are null": good.replace(/"params":.*/, '"params":null}'),
        "the name twice": withName('"name":"echo","name":"delete_file"'),
        "the name twice, once escaped": withName('"name":"echo","\\u006eame":"delete_file"'),
        "the name twice, and equal": withName('"name":"delete_file","name":"delete_file"'),
        "the arguments twice": withName('"arguments":{},"name":"delete_file"'),
        "the parameters twice": good.replace('"params"', '"params":{},"params"'),
        "the method twice": good.replace('"method"', '"method":"ping","method"'),
        "the id twice": good.replace('"id":7', '"id":3,"id":7'),
        "a key twice in the arguments": withArguments('{"path":"/a","path":"/b"}'),
        "a key twice deep in the arguments": withArguments('{"a":[{"b":{"c":1,"d":2,"\\u0063":1}}]}'),
        "an empty key twice": withArguments('{"":1,"":1}'),
        "a repeat among a hundred thousand keys": withArguments(`{${keys(100_000)},"k500":0}`),
        "__proto__ twice": withArguments('{"__proto__":1,"__proto__":2}'),
        "65 levels": withArguments(`{"a":${nested(62)}}`),
        "a hundred thousand levels of objects": withArguments(
          `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`,
        ),
        "a name in capitals beside the name": withName('"name":"echo","Name":"delete_file"'),
        "a name in capitals alone": withName('"NAME":"delete_file"'),
        "a full-width name": withName('"name":"echo","\uff4eame":"delete_file"'),
        "an escaped look-alike": withName('"name":"echo","\\u004eame":"delete_file"'),
        "paramſ beside params": good.replace('"params"', '"param\u017f":{"name":"echo"},"params"'),
        "taſK with a Kelvin sign": withName('"name":"delete_file","tas\u212a":{}'),
        "ARGUMENTS beside the arguments": withName('"name":"delete_file","ARGUMENTS":{"path":"/y"}'),
        "Method beside the method": good.replace('"method"', '"Method":"ping","method"'),
        "ID beside the id": good.replace('"id"', '"ID":8,"id"'),
      },
      7,
    ),
  ],
  [
    "A method that is none",
    table(
      NO_METHOD,
      {
        "a method nobody knows": withMethod('"foo/bar"'),
        "a method in other capitals": withMethod('"tools/Call"'),
        "a method with a space": withMethod('"tools/call "'),
        "a method with a line break": withMethod('"tools/call\\n"'),
        "a method with a NUL": withMethod('"tools/call\\u0000"'),
        "no letters in the method": withMethod('""'),
        "a method every object has": withMethod('"constructor"'),
        "__proto__ as a method": withMethod('"__proto__"'),
        "a method of servers": withMethod('"sampling/createMessage"'),
        "a feature the server has not": withMethod('"tasks/list"'),
        "a notification's method with an id": withMethod('"notifications/cancelled"'),
      },
      7,
    ),
  ],
  [
    "A call that names nothing",
    table(
      PARAMS,
      {
        "no name": withName('"other":1'),
        "a name that is a number": withName('"name":1'),
        "a name in a list": withName('"name":["delete_file"]'),
        "arguments in a list": withArguments('["/x"]'),
        "arguments in a text": withArguments('"{}"'),
        "a name with an escaped NUL": withName('"name":"delete_file\\u0000"'),
        "a name with a space": withName('"name":"delete_file "'),
        "a name in other letters": withName('"name":"delet\u0435_file"'),
        "a full-width name of a tool": withName('"name":"\uff44elete_file"'),
        "an invisible character in the name": withName('"name":"delete\u200d_file"'),
        "the name in capitals": withName('"name":"DELETE_FILE"'),
        "the empty name": withName('"name":""'),
        "a tool called constructor": withName('"name":"constructor"'),
        "a tool called toString": withName('"name":"toString"'),
        "a tool called __proto__": withName('"name":"__proto__"'),
        "a tool called hasOwnProperty": withName('"name":"hasOwnProperty"'),
      },
      7,
    ),
  ],
  [
    "A notification that may not be",
    table(null, {
      "a call as a notification": good.replace('"id":7,', ""),
      "a notification nobody knows": '{"jsonrpc":"2.0","method":"notifications/foo","params":{}}',
    }),
  ],
];
const count = groups.reduce((sum, [, frames]) => sum + frames.length, 0);

interface Sent {
  readonly answers: readonly Frame[];
  readonly status: number | null;
}

/** One connection of a client, by whichever transport. */
interface Connection {
  /** The server's frames and calls, kept by the server. */
  readonly place: Place;
  /** Sends bytes as one frame; what came back. */
  send(bytes: string | Buffer, isAnswered?: boolean): Promise<Sent>;
  call(name: string, args: string): Promise<Frame>;
  close(): Promise<void>;
}

const seenBy = (place: Place): string => join(place.root, "frames");

/** What the server was sent, the gateway's own looks at its tools apart. */
function forwarded(place: Place): string[] {
  const file = seenBy(place);
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
  return lines.filter((line) => !line.includes('"method":"tools/list"'));
}

class StdioConnection implements Connection {
  constructor(
    readonly place: Place,
    readonly client: RawStdio,
    readonly prefix = "",
  ) {}

  static async open(): Promise<StdioConnection> {
    const place = makePlace({ "tester.yaml": 'agent: tester\non_change: allow\nallow: ["*"]\n' });
    const way = wrapWay(place, fakeServer(), { env: { FRAMES: seenBy(place) } });
    if (way.kind !== "stdio") throw new Error("wrap speaks stdio");
    return new StdioConnection(place, await RawStdio.connect(way));
  }

  async send(bytes: string | Buffer, isAnswered = true): Promise<Sent> {
    const { frames, child } = this.client;
    const before = frames.length;
    child.stdin?.write(Buffer.concat([Buffer.from(bytes), Buffer.from("\n")]));
    if (isAnswered) await this.client.frame((frame) => frames.indexOf(frame) >= before);
    return { answers: frames.slice(before), status: null };
  }

  call(name: string, args: string): Promise<Frame> {
    return this.client.call(`${this.prefix}${name}`, { args, id: `good ${++calls}` }).answer;
  }

  async close(): Promise<void> {
    await this.client.close();
    expect(this.client.noise).toEqual([]);
    this.place.remove();
  }
}

class HttpConnection implements Connection {
  private constructor(
    readonly place: Place,
    private readonly gateway: HttpGateway,
    readonly session: WireSession,
  ) {}

  static async open(): Promise<HttpConnection> {
    const place = makePlace({ "tester.yaml": 'agent: tester\non_change: allow\nallow: ["*__*"]\n' });
    const gateway = await startHttpGateway(place, configOf(place));
    return new HttpConnection(place, gateway, await WireSession.open(gateway, { path: "/fake" }));
  }

  async send(bytes: string | Buffer): Promise<Sent> {
    const response = await this.session.post(bytes);
    await response.ended;
    return { answers: response.frames, status: response.status };
  }

  async call(name: string, args: string): Promise<Frame> {
    const id = `good ${++calls}`;
    const text = `{"jsonrpc":"2.0","id":"${id}","method":"tools/call","params":{"name":"${name}","arguments":${args}}}`;
    const { answers } = await this.send(text);
    const answer = answers.find((each) => each.id === id);
    if (answer === undefined) throw new Error(`no answer: ${JSON.stringify(answers)}`);
    return answer;
  }

  async close(): Promise<void> {
    await this.gateway.stop();
    this.place.remove();
  }
}

function configOf(place: Place): object {
  const [command, ...args] = fakeServer();
  const env = { LEDGER: place.ledger, FRAMES: seenBy(place) };
  return {
    agent: "tester",
    policies: "./policies",
    limits: { frame: "2MiB" },
    servers: { fake: { command, args, env, timeout: "1500ms" } },
  };
}

let calls = 0;

const transports = [
  ["stdio", () => StdioConnection.open()],
  ["HTTP", () => HttpConnection.open()],
] as const;

describe.each(transports)("over %s", (_, open) => {
  let connection: Connection;
  let person: Person;

  beforeAll(async () => {
    connection = await open();
    person = await openPerson(connection.place);
    // What is counted below begins behind the handshake.
    await alive();
  });
  afterAll(async () => {
    await person?.leave();
    await connection?.close();
  });

  /** Liveness: on the same connection a good call reaches the server, with the frames that did so. */
  const alive = async (): Promise<string> => {
    const mark = `alive-${++calls}`;
    expect(textOf(await connection.call("echo", `{"canary":"${mark}"}`))).toContain(mark);
    return mark;
  };

  describe.each(groups)("%s", (_kind, frames) => {
    const said: string[] = [];
    let before = { forwarded: 0, records: 0 };

    beforeAll(async () => {
      before = {
        forwarded: forwarded(connection.place).length,
        records: (await person.records()).length,
      };
    });

    it.each(frames)("is refused: $what", async ({ bytes, code, id = null }) => {
      const { answers, status } = await connection.send(bytes, code !== null);
      if (code === null) expect(answers).toEqual([]);
      else expect(answers).toMatchObject([{ jsonrpc: "2.0", id, error: { code } }]);
      // An unreadable frame is a bad request; an answer to a request of this session is an answer like any other.
      const unreadable = code === PARSE || code === INVALID;
      if (status !== null) expect(status).toBe(code === null ? 202 : unreadable ? 400 : 200);
      said.push(answers[0]?.error?.message ?? "");
    });

    it("is recorded, each once; none reached the server, and the connection goes on", async () => {
      const mark = await alive();
      const reached = forwarded(connection.place).slice(before.forwarded);
      expect(reached).toEqual([expect.stringContaining(mark)]);
      const refused = async (): Promise<LedgerRecord[]> =>
        (await person.records()).slice(before.records).filter(({ kind }) => kind === "refused");
      await expect.poll(async () => (await refused()).length, { timeout: 3000 }).toBe(frames.length);
      for (const [index, record] of (await refused()).entries()) {
        expect(record).toMatchObject({ agent: "tester", principal: expect.stringMatching(/./) as string });
        expect(record.reason).toContain((said[index] ?? "").slice(0, 24));
      }
    });
  });

  it("shows all of it in `aegis log --json`", async () => {
    const log = await connection.place.cli(["log", "--json", "--limit", "100000"]);
    const refused = jsonLines<LedgerRecord>(log.stdout).filter(({ kind }) => kind === "refused");
    expect(refused).toHaveLength(count);
  });

  it("passes 64 levels, twenty thousand keys, and members that look like nothing of the protocol", async () => {
    const shapes = [
      `{"a":${nested(61)}}`,
      `{${keys(20_000)}}`,
      '{"Name":1,"name":2,"paramſ":3,"constructor":4}',
    ];
    for (const args of shapes) {
      // Compared here: a difference of so many characters would be printed.
      expect(textOf(await connection.call("echo", args)) === args).toBe(true);
      expect(readLedger(connection.place.ledger).executions.at(-1)?.arguments === args).toBe(true);
    }
  });

  it("refuses an id that is open already, and answers the first request", async () => {
    const slow =
      '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"slow","arguments":{"ms":400}}}';
    const ran = (): number =>
      readLedger(connection.place.ledger).executions.filter(({ tool }) => tool === "slow").length;
    const before = ran();
    const first = connection.send(slow, false);
    await expect.poll(ran, { timeout: 3000 }).toBe(before + 1);
    const second = await connection.send(good);
    expect(second.answers).toMatchObject([{ id: 7, error: { code: INVALID } }]);
    const answered = async (): Promise<readonly Frame[]> =>
      connection instanceof StdioConnection ? connection.client.answers(7) : (await first).answers;
    await expect.poll(async () => textOf((await answered()).at(-1) ?? {})).toBe("at last");
    expect(readLedger(connection.place.ledger).executions.some(({ tool }) => tool === "delete_file")).toBe(
      false,
    );
    await alive();
  });

  it("takes numbers to the server byte for byte, and tells them apart in the digest", async () => {
    const numbers = [
      "9007199254740992",
      "9007199254740993",
      "1",
      "1.0",
      "1e0",
      "100",
      "1e2",
      "1E2",
      "0",
      "-0",
      "0.1",
      "1e400",
    ];
    for (const number of numbers) {
      const args = `{ "n" : ${number} }`;
      await connection.call("echo", args);
      expect(readLedger(connection.place.ledger).executions.at(-1)?.arguments).toBe(args);
    }
    const digests = (await digestsOf(connection.place)).slice(-numbers.length);
    expect(new Set(digests).size).toBe(numbers.length);
    for (const args of ['{"a":1.0,"b":"x"}', '{ "b" : "\\u0078", "a":1.0 }'])
      await connection.call("echo", args);
    const [one, same] = (await digestsOf(connection.place)).slice(-2);
    expect(one).toBe(same);
  });

  it("takes arguments that would pollute a prototype for what they are", async () => {
    for (const args of ['{"__proto__":{"allow":true}}', '{"constructor":{"prototype":{"isError":false}}}']) {
      expect(textOf(await connection.call("echo", args))).toBe(args);
    }
    await alive();
  });
});

async function digestsOf(place: Place): Promise<unknown[]> {
  const log = await place.cli(["log", "--json", "--limit", "100000"]);
  return jsonLines<LedgerRecord>(log.stdout)
    .filter(({ kind }) => kind === "decision")
    .map(({ digest }) => digest);
}

describe("a frame over the limit", () => {
  const padded = (size: number): string => {
    const empty = good.replace("/x", "");
    return good.replace("/x", "x".repeat(size - empty.length));
  };

  it("is refused over HTTP with 413, whole or in chunks, and the session goes on", async () => {
    const connection = await HttpConnection.open();
    try {
      const { answers, status } = await connection.send(padded(LIMIT + 1));
      expect(status).toBe(413);
      expect(answers).toMatchObject([{ id: null, error: { code: INVALID } }]);
      expect(forwarded(connection.place).some((line) => line.includes("delete_file"))).toBe(false);
      expect(textOf(await connection.call("echo", '{"still":"here"}'))).toContain("here");
      // At the limit it is a frame like any other.
      expect(await connection.send(padded(LIMIT))).toMatchObject({ status: 200 });
      expect(readLedger(connection.place.ledger).executions.at(-1)?.tool).toBe("delete_file");
      await expectRecord(connection.place, /over 2097152 bytes/);
      // And what a server says: the answer is lost, the connection is not.
      const lost = await connection.call("blob", `{"bytes":${LIMIT}}`);
      expect(lost.error).toMatchObject({ data: { outcome: "unknown" } });
      expect(textOf(await connection.call("echo", '{"still":"there"}'))).toContain("there");
    } finally {
      await connection.close();
    }
  });

  it("is refused on stdio up to its newline, and the next line is read", async () => {
    const place = makePlace({ "tester.yaml": 'agent: tester\non_change: allow\nallow: ["*__*"]\n' });
    const way = wrapWay(place, []);
    if (way.kind !== "stdio") throw new Error("stdio");
    const command = [process.execPath, main, "gateway", "--config", place.writeConfig(configOf(place))];
    const client = await RawStdio.connect({ ...way, command });
    const connection = new StdioConnection(place, client, "fake__");
    try {
      const call = padded(LIMIT + 1);
      expect(await connection.send(call)).toMatchObject({
        answers: [{ id: null, error: { code: INVALID } }],
      });
      // No newline for eight times the limit: it costs no more than the limit.
      expect(await connection.send("x".repeat(8 * LIMIT))).toMatchObject({
        answers: [{ error: { code: INVALID } }],
      });
      expect(forwarded(place).some((line) => line.includes("delete_file"))).toBe(false);
      expect(textOf(await connection.call("echo", '{"still":"here"}'))).toContain("here");
      await expectRecord(place, /over 2097152 bytes/);
      const lost = await connection.call("blob", `{"bytes":${LIMIT}}`);
      expect(lost.error).toMatchObject({ data: { outcome: "unknown" } });
      expect(textOf(await connection.call("echo", '{"still":"there"}'))).toContain("there");
    } finally {
      await connection.close();
    }
  });
});

async function expectRecord(place: Place, reason: RegExp): Promise<void> {
  const { stdout } = await place.cli(["log", "--json"]);
  const records = jsonLines<LedgerRecord>(stdout);
  expect(records.filter((record) => reason.test(record.reason ?? "")).map(({ kind }) => kind)).toContain(
    "refused",
  );
}

describe("tools that are named like what every object has", () => {
  const names = ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf"];

  it("get the default where no rule names them, whatever the arguments say", async () => {
    const place = makePlace({ "tester.yaml": "agent: tester\ndefault: block\nallow: [echo]\n" });
    const way = wrapWay(place, fakeServer("--tools", ["echo", ...names].join(",")));
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = await RawStdio.connect(way);
    try {
      for (const name of names) {
        for (const args of [
          "{}",
          '{"__proto__":{"allow":true}}',
          '{"constructor":{"prototype":{"allow":["*"]}}}',
        ]) {
          expect(refusalIn(await client.call(name, { args }).answer)).toMatchObject({ decision: "BLOCK" });
        }
      }
      expect(textOf(await client.call("echo", { args: '{"a":1}' }).answer)).toBe('{"a":1}');
      expect(readLedger(place.ledger).executions.map(({ tool }) => tool)).toEqual(["echo"]);
    } finally {
      await client.close();
      place.remove();
    }
  });
});
