/** The pages in a real browser, which takes markup apart as browsers do: threats U1, U2, U5, T9. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routes } from "../../../../src/backend/http/routes.js";
import type { Service } from "../../../../src/backend/service.js";
import type { Approval, ApprovalContext } from "../../../../src/client/backend.js";
import { noContext, waitingApproval } from "../../../fixtures/approvals.js";
import { startServer, type TestServer } from "../../../fixtures/backend/http.js";
import { hold } from "../../../fixtures/backend/people.js";
import { Browser, chromium } from "../../../fixtures/browser.js";
import { payloads } from "../../../fixtures/payloads.js";

/** What is shown as approval 666, and around it. */
let shown: { approval: Partial<Approval>; context: Partial<ApprovalContext> } | null = null;
function showing(service: Service): Service {
  return new Proxy(service, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      if (name === "approval" && shown !== null)
        return async () => ({ ...waitingApproval, ...shown?.approval });
      if (name === "approvalContext" && shown !== null)
        return async () => ({ ...noContext, ...shown?.context });
      return value.bind(target);
    },
  });
}

describe.runIf(chromium !== null)("in a real browser", () => {
  let server: TestServer;
  let browser: Browser;
  /** Another site. */
  const elsewhere = createServer((_request, response) => {
    response.setHeader("content-type", "text/html").end(page);
  });
  let page = "";
  let other: string;

  beforeAll(async () => {
    server = await startServer({ routes, wrap: showing });
    browser = await Browser.start();
    await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    // Another name of this machine: to the browser another site.
    other = `http://localhost:${(elsewhere.address() as AddressInfo).port}/`;
  });
  afterAll(async () => {
    elsewhere.close();
    await browser?.close();
    await server?.close();
  });

  const click = (selector: string): Promise<void> =>
    browser.load(() => browser.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`));
  const path = (): Promise<string> => browser.evaluate("location.pathname");
  const text = (): Promise<string> => browser.evaluate("document.body.innerText");

  it("signs in, decides and signs out, without a script", async () => {
    const id = await hold(server, '{"path":"/srv/a.txt"}');
    await browser.open(`${server.url}/approvals/${id}`);
    expect(await path()).toBe("/sign-in");
    await browser.evaluate(
      `document.querySelector("#token").value = ${JSON.stringify(server.tokens.approver)}`,
    );
    await click("main button");
    expect(await path()).toBe(`/approvals/${id}`);
    expect(await browser.evaluate("document.activeElement.tagName")).toBe("BODY");
    await browser.evaluate('document.querySelector("#reason").value = "looks right"');
    await click("button.approve");
    expect(await text()).toContain("Approved by approver");
    expect(await server.service.approval(id)).toMatchObject({
      status: "approved",
      decidedBy: "approver",
      decidedReason: "looks right",
    });
  });

  it("makes nothing of what it is shown", async () => {
    const all = payloads.join("\n");
    const words = (one: string): void => {
      shown = {
        approval: {
          agent: one,
          principal: one,
          server: one,
          tool: one,
          action: one,
          reason: one,
          rule: one,
          arguments: JSON.stringify({
            [one]: one,
            list: payloads.map((each) => (one === "words" ? one : each)),
          }),
          votes: [{ by: one, at: waitingApproval.createdAt, reason: one }],
        },
        context: { definition: JSON.stringify({ title: one, description: one.slice(0, 500) }) },
      };
    };
    const look = async (): Promise<{ names: string; handlers: number; loaded: string[] }> => {
      browser.requested.length = 0;
      await browser.open(`${server.url}/approvals/666`);
      const found = await browser.evaluate<{ names: string; handlers: number }>(`(() => {
        const all = [...document.querySelectorAll("*")].filter((e) => !e.matches("span.hid, span.esc"));
        const handlers = all.filter((e) => [...e.attributes].some(({ name }) => /^on|^src|^style$/.test(name)));
        const names = all.map((e) => e.tagName).filter((name) => name !== "DETAILS" && name !== "SUMMARY");
        return { names: [...new Set(names)].sort().join(" "), handlers: handlers.length };
      })()`);
      return { ...found, loaded: [...browser.requested] };
    };
    try {
      words("words");
      const plain = await look();
      words(all);
      const foreign = await look();
      expect(foreign).toEqual({ names: plain.names, handlers: 0, loaded: [`${server.url}/approvals/666`] });
      const seen = await browser.evaluate<string>("document.body.textContent");
      expect(seen).toContain("<img src=x onerror=alert(1)>");
      expect(seen).toContain("safe⟨U+202E⟩gpj.exe");
      expect(browser.dialogs).toEqual([]);
    } finally {
      shown = null;
    }
  });

  it("is in no frame of another site, and takes no form from one", async () => {
    const id = await hold(server, '{"path":"/srv/b.txt"}');
    page = `<iframe src="${server.url}/approvals/${id}"></iframe>`;
    await browser.open(other);
    await expect.poll(() => browser.failed).toContain("net::ERR_BLOCKED_BY_RESPONSE");
    page = `<form method="post" action="${server.url}/approvals/${id}"><input name="decision" value="approve"><button>x</button></form>`;
    await browser.open(other);
    await click("button");
    expect(await path()).toBe(`/approvals/${id}`);
    expect(await text()).toContain("requests from this Origin are not accepted");
    expect((await server.service.approval(id)).status).toBe("pending");
  });

  it("is reached by a link from elsewhere without signing in again", async () => {
    const id = await hold(server, '{"path":"/srv/c.txt"}');
    page = `<a href="${server.url}/approvals/${id}">look</a>`;
    await browser.open(other);
    await click("a");
    await expect.poll(text).toContain("Decide approval");
    await browser.evaluate('document.querySelector("header button").click()');
    await expect.poll(path).toBe("/sign-in");
    await expect.poll(() => browser.evaluate("document.readyState")).toBe("complete");
    await browser.open(`${server.url}/approvals/${id}`);
    expect(await path()).toBe("/sign-in");
  });

  it("fits the window of a desktop and of a phone, light and dark", async () => {
    shown = {
      approval: {
        arguments: JSON.stringify({ long: "x".repeat(900), deep: [[[[[["y".repeat(300)]]]]]] }),
        id: 666,
      },
      context: { definition: JSON.stringify({ description: "z".repeat(300) }) },
    };
    try {
      await browser.open(`${server.url}/sign-in?to=/approvals/666`);
      await browser.evaluate(
        `document.querySelector("#token").value = ${JSON.stringify(server.tokens.approver)}`,
      );
      await click("main button");
      for (const width of [1200, 390]) {
        for (const dark of [false, true]) {
          await browser.look(width, dark);
          const [wide, back] = await browser.evaluate<[number, string]>(
            "[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]",
          );
          expect(wide).toBeLessThanOrEqual(width);
          expect(back).toBe(dark ? "rgb(13, 17, 23)" : "rgb(246, 247, 249)");
        }
      }
    } finally {
      shown = null;
    }
  });
});
