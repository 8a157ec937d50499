import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Access, permissions, type Section } from "../../../src/backend/http/permissions.js";
import { routes } from "../../../src/backend/http/routes.js";
import { routesOf, startServer, stubs, type TestServer, tokenNames } from "../../fixtures/backend/http.js";
import { agent } from "../../fixtures/backend/store.js";

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ routes });
});
afterAll(() => server.close());

const rows = new Map<string, Access>(
  (Object.keys(permissions) as Section[])
    .filter((section) => section !== "pages")
    .flatMap((section) => Object.entries<Access>(permissions[section])),
);

/** A path the route answers, about the agent that the token `agent` is bound to. */
function example(route: string): { readonly method: string; readonly path: string } {
  const [method = "", pattern = ""] = route.split(" ");
  const path = pattern
    .replace(/:(agent_name|name)/, agent)
    .replace(":id", "1")
    .replace(":action", "files__read")
    .replace("*", "index.css");
  return { method, path };
}

describe("the table of permissions", () => {
  it("has every route of the running server, and no other", () => {
    const real = routesOf(server.app).map((route) => route.replace(/(?<=\S)\/$/, ""));
    expect([...new Set(real)].toSorted()).toEqual([...rows.keys()].toSorted());
  });

  it("opens to everybody what tells that we live, and what we are, and nothing else", () => {
    const open = [...rows].filter(([, access]) => access === "public").map(([route]) => route);
    expect(open.toSorted()).toEqual([
      "GET /",
      "GET /healthz",
      "GET /readyz",
      "GET /sign-in",
      "GET /v1",
      "POST /sign-in",
    ]);
    expect(rows.get("GET /metrics")).toEqual(["admin", "auditor"]);
  });

  it("gives nothing that decides, kills, revives or changes policies or tokens to whoever can run tools", () => {
    const changing = /decision$|decide|kill|revive|tokens|PUT|toggle/;
    const given = [...rows].filter(
      ([route]) => changing.test(route) && !route.startsWith("POST /v1/decisions"),
    );
    expect(given.length).toBeGreaterThan(8);
    for (const [route, access] of given) {
      expect([route, access.includes("agent") || access.includes("gateway")]).toEqual([route, false]);
      expect([route, access.includes("auditor")]).toEqual([route, false]);
    }
  });
});

/** Routes that take a session, and no token, whatever its role. */
const ofPages = Object.keys(permissions.people);

describe("role × route", () => {
  it("lets in whom the table names and refuses everybody else, at every route the server has", async () => {
    const wrong: string[] = [];
    let asked = 0;
    await Promise.all(
      routesOf(server.app).map(async (route) => {
        if (ofPages.includes(route)) return;
        const access = rows.get(route.replace(/(?<=\S)\/$/, "")) ?? [];
        const { method, path } = example(route);
        for (const token of [...tokenNames, null]) {
          const { status } = await server.ask(path, { method, token });
          const role = token === "gateway" ? "agent" : token;
          const may =
            access === "public" ||
            (token !== null && access.some((caller) => caller === role || caller === token));
          const expected = may
            ? status !== 401 && status !== 403 && status < 500
            : status === (token === null ? 401 : 403);
          if (!expected) wrong.push(`${route} as ${token}: ${status}`);
          asked++;
        }
      }),
    );
    expect(wrong).toEqual([]);
    expect(asked).toBeGreaterThan(300);
  });

  it("asks everybody to sign in at the pages, whatever token they send", async () => {
    for (const route of ofPages.filter((row) => !row.endsWith(" /sign-in"))) {
      const { method, path } = example(route);
      for (const token of [...tokenNames, null]) {
        const { status } = await server.ask(path, { method, token });
        expect([route, token, status]).toEqual([route, token, method === "GET" ? 303 : 401]);
      }
    }
  });

  it("asks for a credential where there is no route, too", async () => {
    expect((await server.ask("/nowhere")).status).toBe(401);
    expect(await server.ask("/nowhere", { token: "auditor" })).toMatchObject({
      status: 404,
      json: { detail: "Not Found" },
    });
  });
});

describe("a start", () => {
  it("fails for a route without a row", async () => {
    const more = stubs("v1", (app) => {
      app.post("/v1/forgotten", async () => "open to everybody");
    });
    await expect(startServer({ routes: { v1: more } })).rejects.toThrow(
      "no row for [POST /v1/forgotten], no route for []",
    );
  });

  it("fails for a row without a route", async () => {
    const less = stubs("compat", () => {}, ["GET /stats"]);
    await expect(startServer({ routes: { compat: less } })).rejects.toThrow("no route for [GET /stats]");
  });
});

interface Document {
  readonly openapi: string;
  readonly paths: Record<
    string,
    Record<string, { summary?: string; description?: string; responses: Record<string, unknown> }>
  >;
}

describe("the document", () => {
  it("has every route of the running server, and the server every route of the document", async () => {
    const { paths } = (await server.ask("/openapi.json", { token: "auditor" })).json as Document;
    const documented = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const real = routesOf(server.app)
      // The page that shows the document is none of the API.
      .filter((route) => route !== "GET /" && !/ \/docs(\/|$)/.test(route) && !ofPages.includes(route))
      .map((route) => route.replace(/:([a-z_]+)/g, "{$1}"));
    expect(documented.toSorted()).toEqual(real.toSorted());
  });

  it("is OpenAPI 3.1, says who may use a route, and what it takes and answers", async () => {
    const { openapi, paths } = (await server.ask("/openapi.json", { token: "auditor" })).json as Document;
    expect(openapi).toBe("3.1.0");
    const lacking: string[] = [];
    for (const [path, methods] of Object.entries(paths)) {
      for (const [method, { summary, description = "", responses }] of Object.entries(methods)) {
        const good = Object.keys(responses).some((status) => status.startsWith("2"));
        if (summary === undefined) lacking.push(`${method} ${path}: summary`);
        if (!/Roles: |Open to everybody/.test(description)) lacking.push(`${method} ${path}: roles`);
        if (!good) lacking.push(`${method} ${path}: answer`);
      }
    }
    expect(lacking).toEqual([]);
  });
});
